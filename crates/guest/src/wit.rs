//! The types that all contracts share, generated once from `wit/kernel`, so that a component can pass a value from one
//! contract to another.

#![allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    reason = "generated from documented WIT"
)]

mod generated {
    use spin_sdk::wit_bindgen;
    wit_bindgen::generate!({
        inline: "
            package localmart:kit;
            world kit {
                import localmart:kernel/types@1.0.0;
                import wasi:keyvalue/store@0.2.0-draft2;
                import wasi:keyvalue/atomics@0.2.0-draft2;
                import spin:postgres/postgres@4.2.0;
                import spin:redis/redis@3.0.0;
            }
        ",
        path: [
            "../../wit/kernel",
            "../../wit/deps/wasi-keyvalue@0.2.0-draft2",
            "../../wit/deps/spin-postgres@4.2.0",
            "../../wit/deps/spin-redis@3.0.0",
        ],
        runtime_path: "::spin_sdk::wit_bindgen::rt",
        generate_all,
        generate_unused_types: true,
    });
}

/// The export of a component with a Redis trigger; see [`crate::export_messages!`].
pub mod inbound {
    use spin_sdk::wit_bindgen;
    wit_bindgen::generate!({
        inline: "
            package localmart:kit;
            world inbound {
                export spin:redis/inbound-redis@3.0.0;
            }
        ",
        path: ["../../wit/deps/spin-redis@3.0.0"],
        runtime_path: "::spin_sdk::wit_bindgen::rt",
        with: { "spin:redis/redis@3.0.0": super::generated::spin::redis::redis },
        pub_export_macro: true,
        generate_all,
    });
}

pub use generated::localmart::kernel::types;
#[cfg(target_arch = "wasm32")]
pub(crate) use generated::spin::{postgres::postgres, redis::redis};
#[cfg(target_arch = "wasm32")]
pub(crate) use generated::wasi::keyvalue;
pub use types::{Actor, Context};

use localmart_kernel::{Asker, Currency, Money, MoneyError};

impl Context {
    /// The context of a call that no user asked for: timers, sweeps, recovery.
    pub fn system(trace_parent: &str) -> Self {
        Self {
            trace_parent: trace_parent.to_owned(),
            actor: Actor::System,
            deadline: 0,
        }
    }

    /// Who makes the call.
    pub fn asker(&self) -> Asker {
        Asker::from(&self.actor)
    }

    /// The same call with the authority of the system: checkout may do more in other services than the shopper may.
    pub fn as_system(&self) -> Self {
        Self {
            trace_parent: self.trace_parent.clone(),
            actor: Actor::System,
            deadline: self.deadline,
        }
    }
}

impl From<&Actor> for Asker {
    fn from(actor: &Actor) -> Self {
        match actor {
            Actor::Anonymous => Self::Guest,
            Actor::Customer(id) => Self::Customer(id.clone()),
            Actor::Staff(id) => Self::Staff(id.clone()),
            Actor::Admin(id) => Self::Admin(id.clone()),
            Actor::System => Self::System,
        }
    }
}

impl From<Money> for types::Money {
    fn from(money: Money) -> Self {
        Self {
            amount: money.amount(),
            currency: money.currency().code().to_owned(),
        }
    }
}

impl TryFrom<types::Money> for Money {
    type Error = MoneyError;
    fn try_from(money: types::Money) -> Result<Self, MoneyError> {
        Money::new(money.amount, Currency::parse(&money.currency)?)
    }
}
