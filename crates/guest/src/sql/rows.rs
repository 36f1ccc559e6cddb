//! Rows by the names of their columns, and tables whose columns are listed once, with [`columns!`].

use super::{SqlError, Value};
use crate::log::{self, Level};
use crate::token::Role;
use localmart_kernel::{Address, Currency, Id, Money, Timestamp};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;

/// The names of the columns of a result, which all its rows share.
pub type Names = Rc<[String]>;

/// A row of a result.
#[derive(Clone)]
pub struct Row {
    names: Names,
    values: Vec<Value>,
    /// Where the next column probably is: columns are mostly read in their order.
    next: Cell<usize>,
}

impl Row {
    /// A row with these values, in the order of the names.
    pub fn new(names: &Names, values: Vec<Value>) -> Self {
        Self {
            names: names.clone(),
            values,
            next: Cell::new(0),
        }
    }

    /// The value of a column.
    ///
    /// # Errors
    /// There is no such column, or its value does not have this type.
    pub fn get<T: Column>(&self, name: &str) -> Result<T, SqlError> {
        let place = self.place(name);
        let value = place.and_then(|place| self.values.get(place));
        let value = value.ok_or_else(|| failed(name, "is missing"))?;
        T::from_value(value).map_err(|reason| failed(name, &reason))
    }

    /// The first value, as text: in most tables the key, which names the row in the log.
    pub fn key(&self) -> String {
        match self.values.first() {
            Some(Value::Text(text)) => text.clone(),
            Some(Value::Integer(number)) => number.to_string(),
            Some(Value::Null) | None => String::new(),
        }
    }

    fn place(&self, name: &str) -> Option<usize> {
        let likely = self.next.get();
        let place = if self.names.get(likely).is_some_and(|known| known == name) {
            likely
        } else {
            self.names.iter().position(|known| known == name)?
        };
        self.next.set(place + 1);
        Some(place)
    }
}

impl PartialEq for Row {
    fn eq(&self, other: &Self) -> bool {
        self.values == other.values
    }
}

impl fmt::Debug for Row {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.values.fmt(formatter)
    }
}

fn failed(column: &str, reason: &str) -> SqlError {
    SqlError::Failed(format!("the column {column} {reason}"))
}

/// A type of a column.
pub trait Column: Sized {
    /// Reads a value. The error completes the sentence "the column …".
    ///
    /// # Errors
    /// The value does not have this type.
    fn from_value(value: &Value) -> Result<Self, String>;
    /// The value as it is stored.
    fn to_value(&self) -> Value;
}

impl Value {
    /// The text of a column of type TEXT. The error completes the sentence "the column …".
    ///
    /// # Errors
    /// The value is no text.
    pub fn text(&self) -> Result<&str, String> {
        match self {
            Self::Text(text) => Ok(text),
            other => unexpected("TEXT", other),
        }
    }
}

fn unexpected<T>(expected: &str, found: &Value) -> Result<T, String> {
    Err(format!("has {found:?} where {expected} is expected"))
}

impl Column for String {
    fn from_value(value: &Value) -> Result<Self, String> {
        value.text().map(str::to_owned)
    }

    fn to_value(&self) -> Value {
        Value::from(self)
    }
}

impl Column for i64 {
    fn from_value(value: &Value) -> Result<Self, String> {
        match value {
            Value::Integer(number) => Ok(*number),
            other => unexpected("BIGINT", other),
        }
    }

    fn to_value(&self) -> Value {
        Value::from(*self)
    }
}

impl Column for u64 {
    fn from_value(value: &Value) -> Result<Self, String> {
        let number = i64::from_value(value)?;
        Self::try_from(number).map_err(|_| format!("is negative: {number}"))
    }

    fn to_value(&self) -> Value {
        Value::from(*self)
    }
}

impl Column for u32 {
    fn from_value(value: &Value) -> Result<Self, String> {
        let number = i64::from_value(value)?;
        Self::try_from(number).map_err(|_| format!("is not from 0 to 2^32 - 1: {number}"))
    }

    fn to_value(&self) -> Value {
        Value::from(*self)
    }
}

/// Stored as 0 or 1.
impl Column for bool {
    fn from_value(value: &Value) -> Result<Self, String> {
        Ok(i64::from_value(value)? != 0)
    }

    fn to_value(&self) -> Value {
        Value::from(*self)
    }
}

/// Stored as Unix milliseconds.
impl Column for Timestamp {
    fn from_value(value: &Value) -> Result<Self, String> {
        i64::from_value(value).map(Self::from_ms)
    }

    fn to_value(&self) -> Value {
        Value::from(*self)
    }
}

impl<T: Column> Column for Option<T> {
    fn from_value(value: &Value) -> Result<Self, String> {
        match value {
            Value::Null => Ok(None),
            value => T::from_value(value).map(Some),
        }
    }

    fn to_value(&self) -> Value {
        self.as_ref().map_or(Value::Null, Column::to_value)
    }
}

/// Stored as JSON.
impl Column for Address {
    fn from_value(value: &Value) -> Result<Self, String> {
        let Json(json) = Json::<serde_json::Value>::from_value(value)?;
        Self::from_json(&json).ok_or_else(|| "is not an address".to_owned())
    }

    fn to_value(&self) -> Value {
        Value::Text(self.to_json().to_string())
    }
}

/// Stored as a list in JSON.
impl Column for Vec<Address> {
    fn from_value(value: &Value) -> Result<Self, String> {
        let Json(list) = Json::<Vec<serde_json::Value>>::from_value(value)?;
        let list: Option<Self> = list.iter().map(Address::from_json).collect();
        list.ok_or_else(|| "is not a list of addresses".to_owned())
    }

    fn to_value(&self) -> Value {
        let list: serde_json::Value = self.iter().map(Address::to_json).collect();
        Value::Text(list.to_string())
    }
}

/// Stored as an object in JSON.
impl Column for BTreeMap<String, String> {
    fn from_value(value: &Value) -> Result<Self, String> {
        Json::from_value(value).map(|Json(map)| map)
    }

    fn to_value(&self) -> Value {
        Json(self.clone()).to_value()
    }
}

/// Stored as an object in JSON.
impl Column for serde_json::Map<String, serde_json::Value> {
    fn from_value(value: &Value) -> Result<Self, String> {
        Json::from_value(value).map(|Json(map)| map)
    }

    fn to_value(&self) -> Value {
        Json(self.clone()).to_value()
    }
}

/// A value that is stored as JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Json<T>(pub T);

impl<T: Serialize + DeserializeOwned> Column for Json<T> {
    fn from_value(value: &Value) -> Result<Self, String> {
        let read = serde_json::from_str(value.text()?);
        read.map(Self)
            .map_err(|error| format!("is not the expected JSON: {error}"))
    }

    fn to_value(&self) -> Value {
        // Maps have texts as keys, and nothing else could fail.
        Value::Text(serde_json::to_string(&self.0).unwrap_or_default())
    }
}

/// Makes types columns of type TEXT: `text_column!(Status: Status::name, Status::parse)`. The second function returns `None`
/// for a text that is not valid.
#[macro_export]
macro_rules! text_column {
    ($($type:ty: $to_text:expr, $from_text:expr);+ $(;)?) => {$(
        impl $crate::sql::Column for $type {
            fn from_value(value: &$crate::sql::Value) -> Result<Self, String> {
                let text: &str = value.text()?;
                let read: Option<Self> = ($from_text)(text);
                read.ok_or_else(|| format!("is not valid: {text:?}"))
            }

            fn to_value(&self) -> $crate::sql::Value {
                let text: &str = ($to_text)(self);
                $crate::sql::Value::from(text)
            }
        }
    )+};
}

text_column! {
    Id: Id::as_str, Id::parse;
    Currency: Currency::code, |text| Currency::parse(text).ok();
    Role: |role: &Role| role.name(), Role::parse;
}

/// A part of a row: one column, or a group of columns that only have a meaning together.
pub trait Part: Sized {
    /// Adds the names of the columns. `name` is that of the field.
    fn names(name: &'static str, out: &mut Vec<&'static str>);
    /// Adds the names of the columns that [`Self::read`] needs.
    fn read_names(name: &'static str, out: &mut Vec<&'static str>) {
        Self::names(name, out);
    }
    /// Reads the columns.
    ///
    /// # Errors
    /// A column is missing, or the values are not valid.
    fn read(row: &Row, name: &str) -> Result<Self, SqlError>;
    /// Adds the values, in the order of the names.
    fn write(&self, out: &mut Vec<Value>);
}

impl<T: Column> Part for T {
    fn names(name: &'static str, out: &mut Vec<&'static str>) {
        out.push(name);
    }

    fn read(row: &Row, name: &str) -> Result<Self, SqlError> {
        row.get(name)
    }

    fn write(&self, out: &mut Vec<Value>) {
        out.push(self.to_value());
    }
}

/// An amount in the column with the name of the field, and its currency in the column `currency`.
impl Part for Money {
    fn names(name: &'static str, out: &mut Vec<&'static str>) {
        out.extend([name, "currency"]);
    }

    fn read(row: &Row, name: &str) -> Result<Self, SqlError> {
        let amount = Self::new(row.get(name)?, row.get("currency")?);
        amount.map_err(|error| failed(name, &format!("is not an amount: {error}")))
    }

    fn write(&self, out: &mut Vec<Value>) {
        out.extend([self.amount().to_value(), self.currency().to_value()]);
    }
}

/// What a table stores: a struct whose columns are listed once. [`columns!`] implements it.
pub trait Stored: Part {
    /// The table.
    const TABLE: &'static str;

    /// The columns. The first one is the key.
    fn columns() -> Vec<&'static str> {
        let mut names = Vec::new();
        Self::names("", &mut names);
        names
    }

    /// Reads a row that has these columns.
    ///
    /// # Errors
    /// A column is missing, or its value is not valid.
    fn of_row(row: &Row) -> Result<Self, SqlError> {
        Self::read(row, "")
    }

    /// The values of the columns, in their order.
    fn values(&self) -> Vec<Value> {
        let mut values = Vec::new();
        self.write(&mut values);
        values
    }

    /// `SELECT id, name FROM things` and what follows, such as `WHERE id = $1`.
    fn select(rest: &str) -> String {
        let (mut names, table) = (Vec::new(), Self::TABLE);
        Self::read_names("", &mut names);
        format!("SELECT {} FROM {table} {rest}", names.join(", "))
    }

    /// `INSERT INTO things (id, name) VALUES ($1, $2)` and what follows. Its parameters are [`Self::values`].
    fn insert(rest: &str) -> String {
        let (columns, table) = (Self::columns(), Self::TABLE);
        let (names, places) = (columns.join(", "), places(1..=columns.len()));
        format!("INSERT INTO {table} ({names}) VALUES ({places}) {rest}")
    }

    /// `UPDATE things SET name = $2 WHERE id = $1`, where the condition is `id = :id`: `:name` is the new value of a column, as a
    /// word of its own. All columns are set except the first, which is the key. Its parameters are [`Self::values`].
    fn update(condition: &str) -> String {
        let (columns, table) = (Self::columns(), Self::TABLE);
        let set = columns.iter().enumerate().skip(1);
        let set: Vec<String> = set
            .map(|(place, name)| format!("{name} = ${}", place + 1))
            .collect();
        let number = |name: &str| columns.iter().position(|known| *known == name);
        let word = |word: &str| {
            let place = word.strip_prefix(':').and_then(number);
            place.map_or_else(|| word.to_owned(), |place| format!("${}", place + 1))
        };
        let condition: Vec<String> = condition.split(' ').map(word).collect();
        let (set, condition) = (set.join(", "), condition.join(" "));
        format!("UPDATE {table} SET {set} WHERE {condition}")
    }
}

/// The names of the columns of a field, whose type is that of the result of the function.
#[doc(hidden)]
pub fn names_of<S, P: Part>(_: impl Fn(&S) -> &P, name: &'static str, out: &mut Vec<&'static str>) {
    P::names(name, out);
}

/// The names of the columns from which a field is read.
#[doc(hidden)]
pub fn read_names_of<S, P: Part>(
    _: impl Fn(&S) -> &P,
    name: &'static str,
    out: &mut Vec<&'static str>,
) {
    P::read_names(name, out);
}

/// `$1, $2, $3`.
pub fn places(numbers: impl IntoIterator<Item = usize>) -> String {
    let places = numbers.into_iter().map(|number| format!("${number}"));
    places.collect::<Vec<_>>().join(", ")
}

/// Lists the columns of a table once, in one of three forms. The fields are [`Part`]s of the row.
///
/// ```ignore
/// columns! {
///     /// A struct for nothing but the row.
///     struct VisitRow in "visits" { id: Id, at: Timestamp }
/// }
/// columns! {
///     // A struct of the domain. The name has another column beside it, which is made of it; `seen` is not stored.
///     impl Thing in "things" { id, name with "name_key" = sort_key, size; seen }
/// }
/// columns! {
///     // A struct that is a part of another one.
///     impl Size { width, height as "tall" }
/// }
/// ```
#[macro_export]
macro_rules! columns {
    ($(#[$about:meta])* $visible:vis struct $name:ident in $table:literal {
        $($(#[$field_about:meta])* $field:ident: $type:ty),* $(,)?
    }) => {
        $(#[$about])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        $visible struct $name {
            $($(#[$field_about])* $visible $field: $type,)*
        }

        $crate::columns! { impl $name in $table { $($field),* } }
    };
    (impl $name:ident in $table:literal { $($fields:tt)* }) => {
        impl $crate::sql::Stored for $name {
            const TABLE: &'static str = $table;
        }

        $crate::columns! { impl $name { $($fields)* } }
    };
    (impl $name:ident {
        $($field:ident $(as $column:literal)? $(with $beside:literal = $made:expr)?),* $(; $($unstored:ident),+)?
    }) => {
        impl $crate::sql::Part for $name {
            fn names(_: &'static str, out: &mut Vec<&'static str>) {
                $($crate::sql::names_of(|of: &Self| &of.$field, $crate::columns!(@name $field $($column)?), out); $(out.push($beside);)?)*
            }

            fn read_names(_: &'static str, out: &mut Vec<&'static str>) {
                $($crate::sql::read_names_of(|of: &Self| &of.$field, $crate::columns!(@name $field $($column)?), out);)*
            }

            fn read(row: &$crate::sql::Row, _: &str) -> Result<Self, $crate::sql::SqlError> {
                Ok(Self {
                    $($field: $crate::sql::Part::read(row, $crate::columns!(@name $field $($column)?))?,)*
                    $($($unstored: Default::default(),)+)?
                })
            }

            fn write(&self, out: &mut Vec<$crate::sql::Value>) {
                $($crate::sql::Part::write(&self.$field, out); $(out.push($crate::sql::Value::from(($made)(&self.$field)));)?)*
            }
        }
    };
    (@name $field:ident) => { stringify!($field) };
    (@name $field:ident $column:literal) => { $column };
}

/// The decoded rows of a query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decoded<T> {
    /// The rows that could be decoded.
    pub items: Vec<T>,
    /// The number of rows that the query returned.
    pub rows: usize,
}

/// Decodes rows, whose first column is the key. A row that cannot be decoded must not make a whole list unreadable: it is
/// left out and logged with its key. `localmart verify` names such rows too.
pub fn decode_rows<T>(
    table: &str,
    rows: &[Row],
    decode: impl Fn(&Row) -> Result<T, SqlError>,
) -> Decoded<T> {
    let readable = |row: &Row| match decode(row) {
        Ok(item) => Some(item),
        Err(error) => {
            let fields = [
                ("table", table),
                ("key", &row.key()),
                ("reason", &error.to_string()),
            ];
            let message = "a row cannot be read and is left out";
            log::write(Level::Error, "", message, &fields);
            None
        }
    };
    Decoded {
        items: rows.iter().filter_map(readable).collect(),
        rows: rows.len(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may stop at once")]

    use super::*;

    columns! {
        struct Thing in "things" {
            id: String,
            name: Option<String>,
            version: u64,
        }
    }

    #[derive(Clone, Debug, PartialEq, Eq)]
    struct Priced {
        id: String,
        inner: Inner,
    }

    #[derive(Clone, Debug, PartialEq, Eq)]
    struct Inner {
        name: String,
        price: Money,
        seen: bool,
    }

    columns! { impl Priced in "priced" { id, inner } }
    columns! { impl Inner { name with "name_key" = |name: &String| name.to_uppercase(), price as "amount"; seen } }

    #[test]
    fn the_columns_of_a_table_are_listed_once() {
        assert_eq!(
            Thing::select("WHERE id = $1"),
            "SELECT id, name, version FROM things WHERE id = $1"
        );
        assert_eq!(
            Thing::insert("ON CONFLICT DO NOTHING"),
            "INSERT INTO things (id, name, version) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING"
        );
        assert_eq!(
            Thing::update("id = :id AND version = :version - 1"),
            "UPDATE things SET name = $2, version = $3 WHERE id = $1 AND version = $3 - 1"
        );
    }

    #[test]
    fn a_struct_of_the_domain_is_a_row_with_groups_of_columns() {
        let columns = ["id", "name", "name_key", "amount", "currency"];
        assert_eq!(Priced::columns(), columns);
        // What is made of another column is written and never read.
        let selected = Priced::select("");
        assert_eq!(selected, "SELECT id, name, amount, currency FROM priced ");
        let mut priced = Priced {
            id: "1".to_owned(),
            inner: Inner {
                name: "Mug".to_owned(),
                price: Money::new(5, Currency::USD).unwrap(),
                seen: true,
            },
        };
        let texts = ["1", "Mug", "MUG"].map(Value::from);
        let values = [texts.as_slice(), &[Value::from(5_u32), Value::from("USD")]].concat();
        assert_eq!(priced.values(), values);
        let names: Names = columns.map(str::to_owned).into();
        priced.inner.seen = false;
        assert_eq!(Priced::of_row(&Row::new(&names, values)), Ok(priced));
    }

    #[test]
    fn a_row_is_read_by_name_in_any_order() {
        let names: Names = ["version", "id", "name"].map(str::to_owned).into();
        let values = vec![Value::from(7_u32), Value::from("a"), Value::Null];
        let row = Row::new(&names, values);
        let thing = Thing::of_row(&row).unwrap();
        let expected = Thing {
            id: "a".to_owned(),
            name: None,
            version: 7,
        };
        assert_eq!(thing, expected);
        let values = [Value::from("a"), Value::Null, Value::from(7_u32)];
        assert_eq!(thing.values(), values);
        let missing = row.get::<String>("other").unwrap_err().to_string();
        assert!(missing.contains("the column other is missing"), "{missing}");
        let wrong = row.get::<u64>("id").unwrap_err().to_string();
        assert!(wrong.contains("the column id has Text(\"a\")"), "{wrong}");
        let null = row.get::<String>("name").unwrap_err().to_string();
        assert!(null.contains("TEXT is expected"), "{null}");
    }
}
