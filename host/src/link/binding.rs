//! How a link is bound, and the options that choose it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

/// How a link is bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Binding {
    /// Caller and callee are joined into one component and run in the same instance. This makes the fastest call, and a
    /// trap ends both.
    Fused,
    /// The callee runs in its own instances, with its own grants, limits and generations.
    #[default]
    Isolated,
    /// The callee runs on another host and is called over HTTP.
    Remote,
    /// The callee is a policy and runs in an engine that counts instructions. This binding follows from the callee; no
    /// option selects it.
    Policy,
}

impl Binding {
    /// The name in options, metrics and the manifest.
    pub fn name(self) -> &'static str {
        match self {
            Self::Fused => "fused",
            Self::Isolated => "isolated",
            Self::Remote => "remote",
            Self::Policy => "policy",
        }
    }
}

impl fmt::Display for Binding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Binding {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "fused" => Ok(Self::Fused),
            "isolated" => Ok(Self::Isolated),
            other => Err(format!("`{other}` is not a binding; use fused or isolated")),
        }
    }
}

/// A link between two components.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Link {
    /// The calling component.
    pub caller: String,
    /// The called component.
    pub callee: String,
}

impl FromStr for Link {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once("->") {
            Some((caller, callee)) if !caller.is_empty() && !callee.is_empty() => Ok(Self {
                caller: caller.trim().to_owned(),
                callee: callee.trim().to_owned(),
            }),
            _ => Err(format!("`{text}` is not a link; write caller->callee")),
        }
    }
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}->{}", self.caller, self.callee)
    }
}

/// A value of `--binding`: for all links, or for one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BindingOption {
    /// `fused` or `isolated`.
    All(Binding),
    /// For example `shop->goods=fused`.
    One(Link, Binding),
}

impl FromStr for BindingOption {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            None => text.parse().map(Self::All),
            Some((link, binding)) => Ok(Self::One(link.parse()?, binding.parse()?)),
        }
    }
}

/// The bindings of all links.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bindings {
    all: Binding,
    /// Components on other hosts.
    remote: BTreeSet<String>,
    one: BTreeMap<Link, Binding>,
}

impl Bindings {
    /// The bindings that options select. A later option overrides an earlier one.
    pub fn from_options(options: &[BindingOption]) -> Self {
        let mut bindings = Self::default();
        for option in options {
            match option {
                BindingOption::All(binding) => bindings.all = *binding,
                BindingOption::One(link, binding) => {
                    bindings.one.insert(link.clone(), *binding);
                }
            }
        }
        bindings
    }

    /// Makes links to these components remote, unless an option for one link says otherwise.
    pub fn with_remote(mut self, components: impl Iterator<Item = String>) -> Self {
        self.remote.extend(components);
        self
    }

    /// The same binding for every link.
    pub fn all(binding: Binding) -> Self {
        Self {
            all: binding,
            ..Self::default()
        }
    }

    /// The binding of a link. `declared` is the binding in the manifest.
    pub fn for_link(&self, caller: &str, callee: &str, declared: Option<Binding>) -> Binding {
        let link = Link {
            caller: caller.to_owned(),
            callee: callee.to_owned(),
        };
        let remote = self.remote.contains(callee).then_some(Binding::Remote);
        let one = self.one.get(&link).copied();
        one.or(remote).or(declared).unwrap_or(self.all)
    }

    /// The links that an option names.
    pub fn named(&self) -> impl Iterator<Item = &Link> {
        self.one.keys()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_options_win_and_a_link_can_have_its_own_binding() {
        let options: Vec<BindingOption> = ["isolated", "shop->goods=fused", "fused"]
            .iter()
            .map(|text| text.parse().unwrap())
            .collect();
        let bindings = Bindings::from_options(&options);
        assert_eq!(bindings.for_link("shop", "goods", None), Binding::Fused);
        assert_eq!(bindings.for_link("desk", "goods", None), Binding::Fused);
        let bindings = Bindings::from_options(&options[..2]);
        let declared = Some(Binding::Fused);
        assert_eq!(bindings.for_link("desk", "goods", declared), Binding::Fused);
        assert_eq!(bindings.for_link("shop", "goods", None), Binding::Fused);
        assert_eq!(bindings.for_link("desk", "goods", None), Binding::Isolated);
        for wrong in ["quick", "shop->=fused", "shop=fused", "shop->desk=near"] {
            assert!(wrong.parse::<BindingOption>().is_err(), "{wrong}");
        }
    }
}
