//! Variables and `{{ templates }}` with variables. All values are strings.

use std::collections::BTreeMap;

/// Why a template cannot be expanded. Errors never contain the value of a variable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// `{{` without `}}` in this template.
    #[error("`{0}` has a `{{{{` that no `}}}}` closes")]
    Unclosed(String),
    /// The text between the braces is not a variable name.
    #[error(
        "`{0}` is not a variable name: use lower-case letters, digits and `_`, beginning with a letter"
    )]
    BadName(String),
    /// There is no such application variable.
    #[error("there is no application variable `{0}`")]
    Unknown(String),
}

impl TemplateError {
    /// What the author of the template can do.
    pub fn help(&self) -> &'static str {
        match self {
            Self::Unclosed(_) => "write a variable as {{ name }}",
            Self::BadName(_) => "a template names one variable, as in {{ name }}",
            Self::Unknown(_) => "declare it under [variables]",
        }
    }
}

/// Whether a name is allowed. As in Spin: lower snake case, beginning with a letter, without double or trailing
/// underscores.
pub fn is_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_lowercase())
        && name
            .bytes()
            .all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_'))
        && !name.contains("__")
        && !name.ends_with('_')
}

/// Expands a template with the values of application variables.
pub fn expand(template: &str, values: &BTreeMap<String, String>) -> Result<String, TemplateError> {
    let mut out = String::with_capacity(template.len());
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("{{") {
        let (name, behind) = after
            .split_once("}}")
            .ok_or_else(|| TemplateError::Unclosed(template.to_owned()))?;
        let name = name.trim();
        if !is_name(name) {
            return Err(TemplateError::BadName(name.to_owned()));
        }
        let value = values
            .get(name)
            .ok_or_else(|| TemplateError::Unknown(name.to_owned()))?;
        out.push_str(before);
        out.push_str(value);
        rest = behind;
    }
    out.push_str(rest);
    Ok(out)
}

/// The first variable in a template whose value is empty.
pub fn empty_variable<'t>(template: &'t str, values: &BTreeMap<String, String>) -> Option<&'t str> {
    let parts = template.split("{{").skip(1);
    let mut names = parts.filter_map(|rest| Some(rest.split_once("}}")?.0.trim()));
    names.find(|name| values.get(*name).is_some_and(String::is_empty))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_are_expanded() {
        let values = BTreeMap::from([
            ("host".to_owned(), "db".to_owned()),
            ("port".to_owned(), "1".to_owned()),
        ]);
        assert_eq!(
            expand("tcp://{{ host }}:{{port}}/", &values).unwrap(),
            "tcp://db:1/"
        );
        assert_eq!(expand("plain }} {", &values).unwrap(), "plain }} {");
        assert_eq!(
            expand("{{ nobody }}", &values),
            Err(TemplateError::Unknown("nobody".into()))
        );
        assert_eq!(
            expand("{{ Host }}", &values),
            Err(TemplateError::BadName("Host".into()))
        );
        assert_eq!(
            expand("tcp://{{ host", &values),
            Err(TemplateError::Unclosed("tcp://{{ host".into()))
        );
    }

    #[test]
    fn empty_variables_of_a_template_are_found() {
        let values = BTreeMap::from([
            ("host".to_owned(), String::new()),
            ("port".to_owned(), "1".to_owned()),
        ]);
        for (template, found) in [
            ("tcp://{{ host }}:{{port}}", Some("host")),
            ("{{port}}", None),
            ("plain", None),
            ("{{ host", None),
        ] {
            assert_eq!(empty_variable(template, &values), found, "{template}");
        }
    }
}
