//! Text as SQL must see it: stored sort keys, because `lower()` and collations differ between databases, and slugs.

/// A key that sorts names as people expect on every database: folded case, accents of Latin letters dropped, bytewise.
pub fn sort_key(text: &str) -> String {
    text.chars()
        .flat_map(char::to_lowercase)
        .map(plain_letter)
        .collect()
}

/// The address form of a name: `Träume & Co.` is `traume-co`. Empty if nothing of it can stand in an address.
pub fn slugify(text: &str) -> String {
    let mut slug = String::with_capacity(text.len());
    for letter in sort_key(text).chars() {
        if letter.is_ascii_alphanumeric() {
            slug.push(letter);
        } else if !slug.is_empty() && !slug.ends_with('-') {
            slug.push('-');
        }
    }
    slug.truncate(slug.trim_end_matches('-').len());
    slug
}

/// Whether this may stand as a slug: lower-case ASCII letters, digits and single inner hyphens, 1 to 100 of them.
pub fn is_slug(text: &str) -> bool {
    (1..=100).contains(&text.len()) && slugify(text) == text
}

fn plain_letter(letter: char) -> char {
    match letter {
        'à' | 'á' | 'â' | 'ã' | 'ä' | 'å' => 'a',
        'ç' => 'c',
        'è' | 'é' | 'ê' | 'ë' => 'e',
        'ì' | 'í' | 'î' | 'ï' => 'i',
        'ñ' => 'n',
        'ò' | 'ó' | 'ô' | 'õ' | 'ö' | 'ø' => 'o',
        'ù' | 'ú' | 'û' | 'ü' => 'u',
        'ý' | 'ÿ' => 'y',
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slugs_are_plain() {
        for (name, slug) in [
            ("Träume & Co.", "traume-co"),
            ("  Big   Mug!  ", "big-mug"),
            ("日本", ""),
            ("100% Cotton", "100-cotton"),
        ] {
            assert_eq!(slugify(name), slug);
        }
        assert!(is_slug("big-mug"));
        for bad in ["", "Big", "a--b", "-a", "a-", "a b", "ä"] {
            assert!(!is_slug(bad), "{bad}");
        }
    }
}
