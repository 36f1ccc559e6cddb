//! The WIT exports of users.

#[cfg(target_arch = "wasm32")]
mod component {
    use crate::bindings::exports::localmart::user::user::{Contact, Error, Guest};
    use crate::service::Contacts;
    use localmart_guest::kernel::Id;
    use localmart_guest::service::instance;
    use localmart_guest::sql::{ServiceDatabase, SqlError};
    use localmart_guest::wit::Context;

    struct Component;
    crate::bindings::export!(Component with_types_in crate::bindings);

    impl Guest for Component {
        async fn get(context: Context, id: String) -> Result<Contact, Error> {
            let (id, asker) = (Id::parse(&id).ok_or(Error::NotFound)?, context.asker());
            let contacts = instance::<Contacts<ServiceDatabase>>().await;
            let contacts = contacts.map_err(|error| Error::Other(error.to_string()))?;
            let user = contacts
                .get(&id, &asker)
                .await
                .map_err(|error| match error {
                    SqlError::Unavailable(reason) => Error::Unavailable(reason),
                    SqlError::Failed(reason) => Error::Other(reason),
                })?;
            let user = user.ok_or(Error::NotFound)?;
            Ok(Contact {
                id: user.id.into(),
                email: user.email,
                name: user.profile.name,
            })
        }
    }
}
