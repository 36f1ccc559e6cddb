//! [`component!`] reads the `component.toml` of the crate that calls it, and makes what only repeats it: the bindings of the
//! contracts, the constants, and the exports of the three doors. The bodies of a service are ordinary Rust.

use localmart_declaration::{Declaration, Declarations};
use proc_macro::TokenStream;
use std::fmt::Write as _;
use std::path::Path;

/// The package of the shared types, in `wit/kernel`. Every contract uses it.
const KERNEL: &str = "kernel";

/// Makes the bindings and the exports of a service; the argument is its type in a component:
///
/// ```ignore
/// localmart_guest::component!(service::Carts<ServiceDatabase, ServiceStore, links::Linked>);
/// ```
///
/// In the crate there are then `bindings` (the WIT of the service and of its links), `DECLARED` (of
/// `component.toml`), and in a component `Wired` (the given type). HTTP is exported for each service, messages for one that
/// hears events. The service exports its own WIT itself, with `bindings::export!`.
#[proc_macro]
pub fn component(service: TokenStream) -> TokenStream {
    let made = std::env::var("CARGO_MANIFEST_DIR")
        .map_err(|error| error.to_string())
        .and_then(|folder| source(Path::new(&folder), &service.to_string()));
    let text = made.unwrap_or_else(|reason| format!("compile_error!({reason:?});"));
    text.parse().unwrap_or_default()
}

/// The Rust source that `component!` becomes.
fn source(folder: &Path, service: &str) -> Result<String, String> {
    let components = folder.parent().ok_or("the crate has no parent folder")?;
    let noun = folder.file_name().unwrap_or_default().to_string_lossy();
    let all = Declarations::read(components).map_err(|error| error.to_string())?;
    let declared = all.0.get(noun.as_ref());
    let declared = declared.ok_or_else(|| format!("components/{noun} has no component.toml"))?;
    let mut text = bindings(&all, &noun);
    text += &constants(&noun, declared);
    let _ = write!(
        text,
        "/// The service as it is in a component.\n#[cfg(target_arch = \"wasm32\")]\npub(crate) type Wired = {service};\n\
         #[cfg(target_arch = \"wasm32\")]\n::localmart_guest::export_http!(Wired);\n"
    );
    if !declared.hears.is_empty() {
        text += "#[cfg(target_arch = \"wasm32\")]\n::localmart_guest::export_messages!(Wired);\n";
    }
    // Cargo compiles the crate again when its declaration or one of its links changes.
    for part in all.with_links(&noun) {
        let _ = writeln!(
            text,
            "const _: &[u8] = ::core::include_bytes!(::core::concat!(::core::env!(\"CARGO_MANIFEST_DIR\"), \"/../{part}/component.toml\"));"
        );
    }
    Ok(text)
}

/// The module `bindings`: the world `component` of the package of the service.
fn bindings(all: &Declarations, noun: &str) -> String {
    let packages = [KERNEL].into_iter().chain(all.with_links(noun));
    let paths: Vec<String> = packages
        .map(|package| format!("\"../../wit/{package}\""))
        .collect();
    format!(
        "/// The contracts of the service and of its links, generated from their WIT.\n\
         #[allow(missing_docs, unreachable_pub, clippy::all, reason = \"generated from documented WIT\")]\n\
         pub(crate) mod bindings {{\n\
             use ::localmart_guest::wit_bindgen;\n\
             wit_bindgen::generate!({{\n\
                 world: \"localmart:{noun}/component\",\n\
                 path: [{}],\n\
                 runtime_path: \"::localmart_guest::wit_bindgen::rt\",\n\
                 with: {{ \"localmart:kernel/types@1.0.0\": ::localmart_guest::wit::types }},\n\
                 generate_all,\n\
             }});\n\
         }}\n",
        paths.join(", ")
    )
}

fn constants(noun: &str, declared: &Declaration) -> String {
    format!(
        "/// What `component.toml` declares.\n\
         pub(crate) const DECLARED: ::localmart_guest::service::Declared = ::localmart_guest::service::Declared {{\n\
             noun: {noun:?}, tells: &{:?}, hears: &{:?}, expires: &{:?},\n\
         }};\n",
        declared.tells, declared.hears, declared.expires
    )
}
