//! Type checks between compiled components. Identical types are found quickly; only different ones are compared
//! structurally, to see whether they fit and what differs.

use super::component_loader::CompiledComponent;
use crate::link::fit::{self, Surface};
use crate::remote::provider::ImportedFunction;
use crate::remote::shape;
use wasmtime::Engine;
use wasmtime::component::Component;
use wasmtime::component::types::{ComponentInstance, ComponentItem};

/// The imported interfaces that contain functions and that other components, not the host, have to provide.
pub fn imports(engine: &Engine, component: &Component) -> Vec<String> {
    let ty = component.component_type();
    let imports = ty.imports(engine);
    let asked = imports.filter(|(name, item)| {
        !fit::is_host_interface(name)
            && match &item.ty {
                ComponentItem::ComponentInstance(interface) => {
                    let mut items = interface.exports(engine);
                    items.any(|(_, item)| !matches!(item.ty, ComponentItem::Type(_)))
                }
                _ => true,
            }
    });
    asked.map(|(name, _)| name.to_owned()).collect()
}

/// The functions of an imported interface.
pub fn functions(engine: &Engine, component: &Component, import: &str) -> Vec<ImportedFunction> {
    let ty = component.component_type();
    let Some(ComponentItem::ComponentInstance(interface)) =
        ty.get_import(engine, import).map(|import| import.ty)
    else {
        return Vec::new();
    };
    let functions = interface
        .exports(engine)
        .filter_map(|(name, item)| match item.ty {
            ComponentItem::ComponentFunc(ty) => Some(ImportedFunction {
                name: name.to_owned(),
                shape: shape::function(&ty),
                result: ty.results().next(),
            }),
            _ => None,
        });
    functions.collect()
}

/// The export of a component that matches an import best.
pub fn best(engine: &Engine, component: &Component, import: &str) -> Option<String> {
    let ty = component.component_type();
    let exports = ty.exports(engine).map(|(name, _)| name);
    fit::best(import, exports).map(str::to_owned)
}

/// Whether an export has the types of an import. The error names the function or field that differs.
pub fn fits(
    engine: &Engine,
    consumer: &CompiledComponent<'_>,
    import: &str,
    provider: &CompiledComponent<'_>,
    export: &str,
) -> Result<(), String> {
    if same(
        engine,
        consumer.component,
        import,
        provider.component,
        export,
    ) {
        return Ok(());
    }
    let surface = |one: &CompiledComponent<'_>| {
        let made = one.recipe.make().map_err(|error| format!("{error:#}"))?;
        Surface::of(&one.recipe.root.id, &made)
    };
    surface(provider)?.fits(export, &surface(consumer)?, import)
}

fn same(
    engine: &Engine,
    consumer: &Component,
    import: &str,
    provider: &Component,
    export: &str,
) -> bool {
    let (asked, offered) = (consumer.component_type(), provider.component_type());
    let asked = asked.get_import(engine, import).map(|import| import.ty);
    let offered = offered.get_export(engine, export).map(|export| export.ty);
    match (asked, offered) {
        (
            Some(ComponentItem::ComponentInstance(asked)),
            Some(ComponentItem::ComponentInstance(offered)),
        ) => all_functions_are_the_same(engine, &asked, &offered),
        _ => false,
    }
}

fn all_functions_are_the_same(
    engine: &Engine,
    asked: &ComponentInstance,
    offered: &ComponentInstance,
) -> bool {
    asked.exports(engine).all(|(name, item)| {
        let ComponentItem::ComponentFunc(asked) = item.ty else {
            // Types are compared where functions use them. Resources are never the same.
            return matches!(item.ty, ComponentItem::Type(_));
        };
        match offered.get_export(engine, name).map(|item| item.ty) {
            Some(ComponentItem::ComponentFunc(offered)) => {
                asked.async_() == offered.async_()
                    && asked.params().eq(offered.params())
                    && asked.results().eq(offered.results())
            }
            _ => false,
        }
    })
}
