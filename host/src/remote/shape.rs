//! Function types as text, so that two hosts can compare them.

use wasmtime::component::types::{ComponentFunc, Type};

/// The types of a function as text.
pub fn function(ty: &ComponentFunc) -> String {
    let kind = if ty.async_() { "async func" } else { "func" };
    let params = ty.params().map(|(name, ty)| format!("{name}: {}", of(&ty)));
    let params: Vec<String> = params.collect();
    let results: Vec<String> = ty.results().map(|ty| of(&ty)).collect();
    format!("{kind}({}) -> ({})", params.join(", "), results.join(", "))
}

/// A short hash of the types of a function, in hexadecimal.
pub fn hash(shape: &str) -> String {
    blake3::hash(shape.as_bytes())
        .to_hex()
        .chars()
        .take(16)
        .collect()
}

fn of(ty: &Type) -> String {
    let all = |types: Vec<String>| types.join(", ");
    let maybe = |ty: Option<Type>| ty.map_or_else(|| "_".to_owned(), |ty| of(&ty));
    match ty {
        Type::List(list) => format!("list<{}>", of(&list.ty())),
        Type::Record(record) => {
            let fields = record
                .fields()
                .map(|field| format!("{}: {}", field.name, of(&field.ty)));
            format!("record{{{}}}", all(fields.collect()))
        }
        Type::Tuple(tuple) => format!("tuple<{}>", all(tuple.types().map(|ty| of(&ty)).collect())),
        Type::Variant(variant) => {
            let case = |case: wasmtime::component::types::Case<'_>| match case.ty {
                Some(ty) => format!("{}({})", case.name, of(&ty)),
                None => case.name.to_owned(),
            };
            format!("variant{{{}}}", all(variant.cases().map(case).collect()))
        }
        Type::Enum(one) => format!("enum{{{}}}", all(one.names().map(str::to_owned).collect())),
        Type::Flags(flags) => {
            format!(
                "flags{{{}}}",
                all(flags.names().map(str::to_owned).collect())
            )
        }
        Type::Option(option) => format!("option<{}>", of(&option.ty())),
        Type::Result(result) => format!("result<{}, {}>", maybe(result.ok()), maybe(result.err())),
        Type::Map(map) => format!("map<{}, {}>", of(&map.key()), of(&map.value())),
        plain => format!("{plain:?}").to_lowercase(),
    }
}
