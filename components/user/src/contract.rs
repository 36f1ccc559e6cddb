//! The WIT exports of users, with their bindings.

#[allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    reason = "generated from documented WIT"
)]
mod bindings {
    use localmart_guest::wit_bindgen;
    wit_bindgen::generate!({
        world: "localmart:user/component@1.0.0",
        path: ["../../wit/kernel", "../../wit/user"],
        runtime_path: "::localmart_guest::wit_bindgen::rt",
        with: { "localmart:kernel/types@1.0.0": ::localmart_guest::wit::types },
        generate_all,
    });
}

#[cfg(target_arch = "wasm32")]
mod component {
    use super::bindings;
    use super::bindings::exports::localmart::user::user::{Contact, Error, Guest};
    use crate::store::Store;
    use localmart_guest::kernel::Id;
    use localmart_guest::ports::Ports;
    use localmart_guest::sql::{ServiceDatabase, SqlError};
    use localmart_guest::wit::Context;

    struct Component;
    bindings::export!(Component with_types_in bindings);

    impl Guest for Component {
        async fn get(context: Context, id: String) -> Result<Contact, Error> {
            let (id, asker) = (Id::parse(&id).ok_or(Error::NotFound)?, context.asker());
            let store = Store::new(ServiceDatabase::new("user"), Ports::real());
            let user = store.by_id(&id).await.map_err(|error| match error {
                SqlError::Unavailable(reason) => Error::Unavailable(reason),
                SqlError::Failed(reason) => Error::Other(reason),
            })?;
            let user = user.filter(|user| user.is_open_to(&asker));
            let user = user.ok_or(Error::NotFound)?;
            Ok(Contact {
                id: user.id.into(),
                email: user.email,
                name: user.profile.name,
            })
        }
    }
}
