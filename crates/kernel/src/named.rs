//! Enums whose cases have names. The API, the database and messages use the names; the code uses the cases.

/// Declares an enum with a name for each case, and makes `ALL`, `name` and `parse` from that list. A case without a name
/// does not compile.
///
/// ```
/// localmart_kernel::named! {
///     /// The size of a parcel.
///     #[derive(Clone, Copy, Debug, PartialEq, Eq)]
///     pub enum Size {
///         /// Fits into a letter box.
///         Small = "small",
///         /// Needs a van.
///         Large = "large",
///     }
/// }
///
/// assert_eq!(Size::Large.name(), "large");
/// assert_eq!(Size::parse("small"), Some(Size::Small));
/// assert_eq!(Size::parse("Small"), None);
/// assert_eq!(Size::ALL, [Size::Small, Size::Large]);
/// ```
#[macro_export]
macro_rules! named {
    (
        $(#[$attribute:meta])*
        $visibility:vis enum $enum:ident {
            $($(#[$case_attribute:meta])* $case:ident = $text:literal,)+
        }
    ) => {
        $(#[$attribute])*
        $visibility enum $enum {
            $($(#[$case_attribute])* $case,)+
        }

        #[allow(dead_code, reason = "not every enum needs all three")]
        impl $enum {
            /// All cases, in the order of their declaration.
            $visibility const ALL: [Self; [$($text),+].len()] = [$(Self::$case),+];

            /// The name of the case.
            $visibility fn name(self) -> &'static str {
                match self {
                    $(Self::$case => $text,)+
                }
            }

            /// The case with this name.
            $visibility fn parse(name: &str) -> Option<Self> {
                match name {
                    $($text => Some(Self::$case),)+
                    _ => None,
                }
            }
        }
    };
}

#[cfg(test)]
mod tests {
    named! {
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        enum Light {
            #[default]
            Red = "red",
            Green = "green",
        }
    }

    #[test]
    fn every_case_is_listed_and_is_read_back_from_its_name() {
        assert_eq!(Light::ALL, [Light::Red, Light::Green]);
        for light in Light::ALL {
            assert_eq!(Light::parse(light.name()), Some(light));
        }
        for unknown in ["", "Red", "red ", "blue"] {
            assert_eq!(Light::parse(unknown), None, "{unknown}");
        }
    }
}
