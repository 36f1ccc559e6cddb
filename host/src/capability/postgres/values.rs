//! Converts between the values of `spin:postgres` and the binary formats of the Postgres protocol, with Spin's type
//! mapping. Beyond it, enums and addresses are texts, and the elements of an array of any basic type come through.

use super::numeric::{self, Numeric};
use super::wit::{Column, DbDataType, DbValue, Interval, ParameterValue, RangeBoundKind};
use ipnet::IpNet;
use jiff::civil;
use postgres_protocol::types as protocol;
use std::error::Error;
use std::net::IpAddr;
use tokio_postgres::fallible_iterator::FallibleIterator as _;
use tokio_postgres::types::private::BytesMut;
use tokio_postgres::types::{FromSql, IsNull, Kind, ToSql, Type, to_sql_checked};

pub(super) type Failure = Box<dyn Error + Sync + Send>;

/// A parameter for the driver. The error says why the value is invalid.
pub(super) fn parameter(value: &ParameterValue) -> Result<Box<dyn ToSql + Sync + Send>, String> {
    Ok(match value {
        ParameterValue::Boolean(truth) => Box::new(*truth),
        ParameterValue::Int8(number) => Box::new(*number),
        ParameterValue::Int16(number) => Box::new(*number),
        ParameterValue::Int32(number) => Box::new(*number),
        ParameterValue::Int64(number) => Box::new(*number),
        ParameterValue::Floating32(number) => Box::new(*number),
        ParameterValue::Floating64(number) => Box::new(*number),
        ParameterValue::Str(text) => Box::new(Text(text.clone())),
        ParameterValue::Binary(bytes) => Box::new(bytes.clone()),
        ParameterValue::Date((year, month, day)) => Box::new(date(*year, *month, *day)?),
        ParameterValue::Time((hour, minute, second, nanosecond)) => {
            Box::new(time(*hour, *minute, *second, *nanosecond)?)
        }
        ParameterValue::Datetime((year, month, day, hour, minute, second, nanosecond)) => {
            let time = time(*hour, *minute, *second, *nanosecond)?;
            Box::new(DatetimeValue(date(*year, *month, *day)?.to_datetime(time)))
        }
        ParameterValue::Timestamp(seconds) => {
            Box::new(jiff::Timestamp::from_second(*seconds).map_err(|_| out_of_range("timestamp"))?)
        }
        ParameterValue::Uuid(text) => {
            Box::new(uuid::Uuid::parse_str(text).map_err(|error| error.to_string())?)
        }
        ParameterValue::Jsonb(bytes) => Box::new(Json(bytes.clone())),
        ParameterValue::Decimal(text) => Box::new(Numeric::parse(text)?),
        ParameterValue::RangeInt32((lower, upper)) => Box::new(Range {
            lower: *lower,
            upper: *upper,
        }),
        ParameterValue::RangeInt64((lower, upper)) => Box::new(Range {
            lower: *lower,
            upper: *upper,
        }),
        ParameterValue::RangeDecimal((lower, upper)) => {
            let bound = |bound: &Option<(String, RangeBoundKind)>| {
                bound
                    .as_ref()
                    .map(|(text, kind)| Ok::<_, String>((Numeric::parse(text)?, *kind)))
                    .transpose()
            };
            Box::new(Range {
                lower: bound(lower)?,
                upper: bound(upper)?,
            })
        }
        ParameterValue::ArrayInt32(items) => Box::new(items.clone()),
        ParameterValue::ArrayInt64(items) => Box::new(items.clone()),
        ParameterValue::ArrayDecimal(items) => {
            let item = |item: &Option<String>| item.as_deref().map(Numeric::parse).transpose();
            Box::new(items.iter().map(item).collect::<Result<Vec<_>, _>>()?)
        }
        ParameterValue::ArrayStr(items) => {
            let items = items.iter().cloned();
            Box::new(items.map(|item| item.map(Text)).collect::<Vec<_>>())
        }
        ParameterValue::Interval(interval) => Box::new(IntervalValue(*interval)),
        ParameterValue::DbNull => Box::new(Null),
    })
}

/// A column for the guest.
pub(super) fn column(column: &tokio_postgres::Column) -> Column {
    Column {
        name: column.name().to_owned(),
        data_type: data_type(column.type_()),
    }
}

fn data_type(ty: &Type) -> DbDataType {
    match *ty {
        Type::BOOL => DbDataType::Boolean,
        Type::CHAR => DbDataType::Int8,
        Type::INT2 => DbDataType::Int16,
        Type::INT4 => DbDataType::Int32,
        Type::INT8 => DbDataType::Int64,
        Type::FLOAT4 => DbDataType::Floating32,
        Type::FLOAT8 => DbDataType::Floating64,
        Type::TEXT | Type::VARCHAR | Type::BPCHAR | Type::NAME => DbDataType::Str,
        Type::BYTEA => DbDataType::Binary,
        Type::DATE => DbDataType::Date,
        Type::TIME => DbDataType::Time,
        Type::TIMESTAMP | Type::TIMESTAMPTZ => DbDataType::Datetime,
        Type::UUID => DbDataType::Uuid,
        Type::JSONB => DbDataType::Jsonb,
        Type::NUMERIC => DbDataType::Decimal,
        Type::INT4_RANGE => DbDataType::RangeInt32,
        Type::INT8_RANGE => DbDataType::RangeInt64,
        Type::NUM_RANGE => DbDataType::RangeDecimal,
        Type::INTERVAL => DbDataType::Interval,
        Type::INET | Type::CIDR => DbDataType::Str,
        ref other => match other.kind() {
            Kind::Enum(_) => DbDataType::Str,
            Kind::Domain(inner) => data_type(inner),
            Kind::Array(element) => array_type(element).unwrap_or_else(|| named(other)),
            _ => named(other),
        },
    }
}

fn named(ty: &Type) -> DbDataType {
    DbDataType::Other(ty.name().to_owned())
}

/// The type of an array with such elements. What has no type of its own is text, or a decimal number, which can be NaN.
fn array_type(element: &Type) -> Option<DbDataType> {
    Some(match data_type(element) {
        DbDataType::Int16 | DbDataType::Int32 => DbDataType::ArrayInt32,
        DbDataType::Int64 => DbDataType::ArrayInt64,
        DbDataType::Floating32 | DbDataType::Floating64 | DbDataType::Decimal => {
            DbDataType::ArrayDecimal
        }
        DbDataType::Str
        | DbDataType::Boolean
        | DbDataType::Uuid
        | DbDataType::Date
        | DbDataType::Time
        | DbDataType::Datetime
        | DbDataType::Jsonb => DbDataType::ArrayStr,
        _ => return None,
    })
}

/// A value of a row for the guest.
pub(super) struct GuestValue(pub(super) DbValue);

impl<'a> FromSql<'a> for GuestValue {
    fn from_sql(ty: &Type, raw: &'a [u8]) -> Result<Self, Failure> {
        lift(ty, raw).map(Self)
    }

    fn from_sql_null(_: &Type) -> Result<Self, Failure> {
        Ok(Self(DbValue::DbNull))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

fn lift(ty: &Type, raw: &[u8]) -> Result<DbValue, Failure> {
    Ok(match data_type(ty) {
        DbDataType::Boolean => DbValue::Boolean(protocol::bool_from_sql(raw)?),
        DbDataType::Int8 => DbValue::Int8(protocol::char_from_sql(raw)?),
        DbDataType::Int16 => DbValue::Int16(protocol::int2_from_sql(raw)?),
        DbDataType::Int32 => DbValue::Int32(protocol::int4_from_sql(raw)?),
        DbDataType::Int64 => DbValue::Int64(protocol::int8_from_sql(raw)?),
        DbDataType::Floating32 => DbValue::Floating32(protocol::float4_from_sql(raw)?),
        DbDataType::Floating64 => DbValue::Floating64(protocol::float8_from_sql(raw)?),
        DbDataType::Str => DbValue::Str(text(ty, raw)?),
        DbDataType::Binary => DbValue::Binary(raw.to_vec()),
        DbDataType::Date if is_infinite(ty, raw) => DbValue::Unsupported(raw.to_vec()),
        DbDataType::Date => {
            let date = civil::Date::from_sql(ty, raw)?;
            let (year, month, day) = calendar(date)?;
            DbValue::Date((year, month, day))
        }
        DbDataType::Time => DbValue::Time(clock(civil::Time::from_sql(ty, raw)?)?),
        DbDataType::Datetime if is_infinite(ty, raw) => DbValue::Unsupported(raw.to_vec()),
        DbDataType::Datetime => {
            let moment = datetime(raw)?;
            let (year, month, day) = calendar(moment.date())?;
            let (hour, minute, second, nanosecond) = clock(moment.time())?;
            DbValue::Datetime((year, month, day, hour, minute, second, nanosecond))
        }
        DbDataType::Uuid => DbValue::Uuid(uuid::Uuid::from_sql(ty, raw)?.to_string()),
        DbDataType::Jsonb => DbValue::Jsonb(json(raw)?.to_vec()),
        DbDataType::Decimal => DbValue::Decimal(numeric::text(raw)?),
        DbDataType::RangeInt32 => DbValue::RangeInt32(range(raw, protocol::int4_from_sql)?),
        DbDataType::RangeInt64 => DbValue::RangeInt64(range(raw, protocol::int8_from_sql)?),
        DbDataType::RangeDecimal => DbValue::RangeDecimal(range(raw, numeric::text)?),
        DbDataType::ArrayInt32
        | DbDataType::ArrayInt64
        | DbDataType::ArrayDecimal
        | DbDataType::ArrayStr => array(ty, raw)?,
        DbDataType::Interval => {
            let (micros, days, months) = (raw.get(..8), raw.get(8..12), raw.get(12..16));
            let (Some(micros), Some(days), Some(months)) = (micros, days, months) else {
                return Err("an interval has a wrong length".into());
            };
            DbValue::Interval(Interval {
                micros: protocol::int8_from_sql(micros)?,
                days: protocol::int4_from_sql(days)?,
                months: protocol::int4_from_sql(months)?,
            })
        }
        DbDataType::Timestamp | DbDataType::Other(_) => DbValue::Unsupported(raw.to_vec()),
    })
}

/// A text, an enum's value or an address.
fn text(ty: &Type, raw: &[u8]) -> Result<String, Failure> {
    if !matches!(*ty, Type::INET | Type::CIDR) {
        return Ok(protocol::text_from_sql(raw)?.to_owned());
    }
    let inet = protocol::inet_from_sql(raw)?;
    let (address, bits) = (inet.addr(), inet.netmask());
    Ok(match *ty == Type::INET && bits == all_bits(address) {
        true => address.to_string(),
        false => format!("{address}/{bits}"),
    })
}

fn all_bits(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

/// JSON in the binary format, which begins with its version number.
fn json(raw: &[u8]) -> Result<&[u8], Failure> {
    match raw.split_first() {
        Some((1, json)) => Ok(json),
        _ => Err("a jsonb value has an unknown version".into()),
    }
}

/// A date and time; of a type with a time zone, in UTC. Both have the same format.
fn datetime(raw: &[u8]) -> Result<civil::DateTime, Failure> {
    civil::DateTime::from_sql(&Type::TIMESTAMP, raw)
}

/// Whether a date or time is `infinity` or `-infinity`: the largest or the smallest number.
fn is_infinite(ty: &Type, raw: &[u8]) -> bool {
    let (largest, smallest) = match *ty {
        Type::DATE => (&i32::MAX.to_be_bytes()[..], &i32::MIN.to_be_bytes()[..]),
        _ => (&i64::MAX.to_be_bytes()[..], &i64::MIN.to_be_bytes()[..]),
    };
    raw == largest || raw == smallest
}

/// The elements of an array. An array of several dimensions has no type in `spin:postgres`.
fn array(ty: &Type, raw: &[u8]) -> Result<DbValue, Failure> {
    let ty = match ty.kind() {
        Kind::Domain(inner) => inner,
        _ => ty,
    };
    let Kind::Array(element) = ty.kind() else {
        return Err("an array has no type of its elements".into());
    };
    let array = protocol::array_from_sql(raw)?;
    if array.dimensions().count()? > 1 {
        return Ok(DbValue::Unsupported(raw.to_vec()));
    }
    let items: Vec<Option<&[u8]>> = array.values().collect()?;
    Ok(match array_type(element) {
        Some(DbDataType::ArrayInt32) if *element == Type::INT2 => {
            let number = |raw: &[u8]| Ok(i32::from(protocol::int2_from_sql(raw)?));
            DbValue::ArrayInt32(each(items, number)?)
        }
        Some(DbDataType::ArrayInt32) => DbValue::ArrayInt32(each(items, protocol::int4_from_sql)?),
        Some(DbDataType::ArrayInt64) => DbValue::ArrayInt64(each(items, protocol::int8_from_sql)?),
        Some(DbDataType::ArrayDecimal) => {
            DbValue::ArrayDecimal(each(items, |raw| element_text(element, raw))?)
        }
        _ => DbValue::ArrayStr(each(items, |raw| element_text(element, raw))?),
    })
}

fn each<T>(
    items: Vec<Option<&[u8]>>,
    read: impl Fn(&[u8]) -> Result<T, Failure>,
) -> Result<Vec<Option<T>>, Failure> {
    let items = items.into_iter();
    items.map(|item| item.map(&read).transpose()).collect()
}

/// An element of an array that has no type of its own there, as the server shows it.
fn element_text(ty: &Type, raw: &[u8]) -> Result<String, Failure> {
    let float = |text: String| match text.as_str() {
        "inf" => "Infinity".to_owned(),
        "-inf" => "-Infinity".to_owned(),
        _ => text,
    };
    Ok(match data_type(ty) {
        DbDataType::Boolean => protocol::bool_from_sql(raw)?.to_string(),
        DbDataType::Floating32 => float(protocol::float4_from_sql(raw)?.to_string()),
        DbDataType::Floating64 => float(protocol::float8_from_sql(raw)?.to_string()),
        DbDataType::Decimal => numeric::text(raw)?,
        DbDataType::Uuid => uuid::Uuid::from_sql(ty, raw)?.to_string(),
        DbDataType::Date | DbDataType::Datetime if is_infinite(ty, raw) => {
            let positive = raw.first().is_some_and(|byte| *byte == 0x7f);
            if positive { "infinity" } else { "-infinity" }.to_owned()
        }
        DbDataType::Date => civil::Date::from_sql(ty, raw)?.to_string(),
        DbDataType::Time => civil::Time::from_sql(ty, raw)?.to_string(),
        DbDataType::Datetime => datetime(raw)?.to_string(),
        DbDataType::Jsonb => protocol::text_from_sql(json(raw)?)?.to_owned(),
        _ => text(ty, raw)?,
    })
}

type Bound<T> = Option<(T, RangeBoundKind)>;

fn range<T>(
    raw: &[u8],
    read: impl Fn(&[u8]) -> Result<T, Failure>,
) -> Result<(Bound<T>, Bound<T>), Failure> {
    use protocol::RangeBound;
    let bound = |bound: RangeBound<Option<&[u8]>>| -> Result<Bound<T>, Failure> {
        Ok(match bound {
            RangeBound::Inclusive(Some(raw)) => Some((read(raw)?, RangeBoundKind::Inclusive)),
            RangeBound::Exclusive(Some(raw)) => Some((read(raw)?, RangeBoundKind::Exclusive)),
            _ => None,
        })
    };
    match protocol::range_from_sql(raw)? {
        protocol::Range::Nonempty(lower, upper) => Ok((bound(lower)?, bound(upper)?)),
        protocol::Range::Empty => Err("spin:postgres cannot represent an empty range".into()),
    }
}

fn calendar(date: civil::Date) -> Result<(i32, u8, u8), Failure> {
    Ok((
        i32::from(date.year()),
        u8::try_from(date.month())?,
        u8::try_from(date.day())?,
    ))
}

fn clock(time: civil::Time) -> Result<(u8, u8, u8, u32), Failure> {
    Ok((
        u8::try_from(time.hour())?,
        u8::try_from(time.minute())?,
        u8::try_from(time.second())?,
        u32::try_from(time.subsec_nanosecond())?,
    ))
}

fn date(year: i32, month: u8, day: u8) -> Result<civil::Date, String> {
    let parts = (i16::try_from(year), i8::try_from(month), i8::try_from(day));
    let (Ok(year), Ok(month), Ok(day)) = parts else {
        return Err(out_of_range("date"));
    };
    civil::Date::new(year, month, day).map_err(|error| error.to_string())
}

fn time(hour: u8, minute: u8, second: u8, nanosecond: u32) -> Result<civil::Time, String> {
    let parts = (
        i8::try_from(hour),
        i8::try_from(minute),
        i8::try_from(second),
        i32::try_from(nanosecond),
    );
    let (Ok(hour), Ok(minute), Ok(second), Ok(nanosecond)) = parts else {
        return Err(out_of_range("time"));
    };
    civil::Time::new(hour, minute, second, nanosecond).map_err(|error| error.to_string())
}

fn out_of_range(what: &str) -> String {
    format!("a {what} is out of range")
}

/// NULL for a parameter of any type.
#[derive(Debug)]
struct Null;

impl ToSql for Null {
    fn to_sql(&self, _: &Type, _: &mut BytesMut) -> Result<IsNull, Failure> {
        Ok(IsNull::Yes)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

/// A text, also for an enum, an address or a UUID.
#[derive(Debug)]
struct Text(String);

impl ToSql for Text {
    fn to_sql(&self, ty: &Type, out: &mut BytesMut) -> Result<IsNull, Failure> {
        match *ty {
            Type::INET | Type::CIDR => {
                let network = self
                    .0
                    .parse::<IpNet>()
                    .map(|net| (net.addr(), net.prefix_len()));
                let whole = || Ok::<_, Failure>(self.0.parse().map(|ip| (ip, all_bits(ip)))?);
                let (address, bits) = network.or_else(|_| whole())?;
                protocol::inet_to_sql(address, bits, out);
                Ok(IsNull::No)
            }
            Type::UUID => uuid::Uuid::parse_str(&self.0)?.to_sql(ty, out),
            _ if matches!(ty.kind(), Kind::Enum(_)) => self.0.to_sql(&Type::TEXT, out),
            _ => self.0.to_sql(ty, out),
        }
    }

    fn accepts(ty: &Type) -> bool {
        let with_text = matches!(*ty, Type::INET | Type::CIDR | Type::UUID);
        with_text || matches!(ty.kind(), Kind::Enum(_)) || <String as ToSql>::accepts(ty)
    }

    to_sql_checked!();
}

/// A date and time without a time zone. For a column with a time zone it is interpreted as UTC.
#[derive(Debug)]
struct DatetimeValue(civil::DateTime);

impl ToSql for DatetimeValue {
    fn to_sql(&self, ty: &Type, out: &mut BytesMut) -> Result<IsNull, Failure> {
        match *ty {
            Type::TIMESTAMPTZ => self
                .0
                .to_zoned(jiff::tz::TimeZone::UTC)?
                .timestamp()
                .to_sql(ty, out),
            _ => self.0.to_sql(ty, out),
        }
    }

    fn accepts(ty: &Type) -> bool {
        matches!(*ty, Type::TIMESTAMP | Type::TIMESTAMPTZ)
    }

    to_sql_checked!();
}

#[derive(Debug)]
struct Json(Vec<u8>);

impl ToSql for Json {
    fn to_sql(&self, ty: &Type, out: &mut BytesMut) -> Result<IsNull, Failure> {
        if *ty == Type::JSONB {
            out.extend_from_slice(&[1]);
        }
        out.extend_from_slice(&self.0);
        Ok(IsNull::No)
    }

    fn accepts(ty: &Type) -> bool {
        matches!(*ty, Type::JSON | Type::JSONB)
    }

    to_sql_checked!();
}

#[derive(Debug)]
struct IntervalValue(Interval);

impl ToSql for IntervalValue {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Failure> {
        out.extend_from_slice(&self.0.micros.to_be_bytes());
        out.extend_from_slice(&self.0.days.to_be_bytes());
        out.extend_from_slice(&self.0.months.to_be_bytes());
        Ok(IsNull::No)
    }

    fn accepts(ty: &Type) -> bool {
        *ty == Type::INTERVAL
    }

    to_sql_checked!();
}

#[derive(Debug)]
struct Range<T> {
    lower: Bound<T>,
    upper: Bound<T>,
}

impl<T: ToSql> ToSql for Range<T> {
    fn to_sql(&self, ty: &Type, out: &mut BytesMut) -> Result<IsNull, Failure> {
        let Kind::Range(element) = ty.kind() else {
            return Err("a range parameter needs a range column".into());
        };
        let bound = |bound: &Bound<T>, out: &mut BytesMut| {
            let Some((value, kind)) = bound else {
                return Ok(protocol::RangeBound::Unbounded);
            };
            let null = match value.to_sql(element, out)? {
                IsNull::Yes => postgres_protocol::IsNull::Yes,
                IsNull::No => postgres_protocol::IsNull::No,
            };
            Ok(match kind {
                RangeBoundKind::Inclusive => protocol::RangeBound::Inclusive(null),
                RangeBoundKind::Exclusive => protocol::RangeBound::Exclusive(null),
            })
        };
        protocol::range_to_sql(
            |out| bound(&self.lower, out),
            |out| bound(&self.upper, out),
            out,
        )?;
        Ok(IsNull::No)
    }

    fn accepts(ty: &Type) -> bool {
        matches!(ty.kind(), Kind::Range(element) if T::accepts(element))
    }

    to_sql_checked!();
}
