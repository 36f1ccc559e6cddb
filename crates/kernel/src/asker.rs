//! Who asks for something. The rules about who may see or change a thing are in the domain of the service that owns it;
//! HTTP and WIT translate their callers to an [`Asker`] and decide nothing.

/// The party on whose authority an operation runs. Users have the ids of their accounts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asker {
    /// Somebody without an account, or without a token.
    Guest,
    /// A user who buys goods.
    Customer(String),
    /// A user who runs the shop.
    Staff(String),
    /// A user who runs the shop and manages users.
    Admin(String),
    /// The shop itself: timers, sweeps and the steps of a checkout.
    System,
}

impl Asker {
    /// The id of the user who asks, if it is one.
    pub fn user(&self) -> Option<&str> {
        match self {
            Self::Customer(id) | Self::Staff(id) | Self::Admin(id) => Some(id),
            Self::Guest | Self::System => None,
        }
    }

    /// Whether this is a user with this id.
    pub fn is_user(&self, id: &str) -> bool {
        self.user() == Some(id)
    }

    /// Whether this is somebody who runs the shop, or the shop itself.
    pub fn runs_the_shop(&self) -> bool {
        match self {
            Self::Staff(_) | Self::Admin(_) | Self::System => true,
            Self::Guest | Self::Customer(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_party_has_its_authority() {
        let id = || "ada".to_owned();
        let cases = [
            (Asker::Guest, None, false),
            (Asker::Customer(id()), Some("ada"), false),
            (Asker::Staff(id()), Some("ada"), true),
            (Asker::Admin(id()), Some("ada"), true),
            (Asker::System, None, true),
        ];
        for (asker, user, runs) in cases {
            assert_eq!((asker.user(), asker.runs_the_shop()), (user, runs));
            assert_eq!(asker.is_user("ada"), user.is_some());
            assert!(!asker.is_user("bob") && !asker.is_user(""));
        }
    }
}
