//! Text as it is stored, sort keys and slugs. Sort keys are stored, because `lower()` and collations differ between
//! databases.

use unicode_normalization::UnicodeNormalization as _;

/// Text that somebody typed, as it is stored, so that equal texts are equal bytes and every document can contain them:
/// composed (Unicode NFC), with `\n` as the only line break, without characters that mean nothing (zero-width spaces,
/// byte order marks, noncharacters) and without white space at the ends.
pub fn clean(text: &str) -> String {
    let lines = text.replace("\r\n", "\n").replace('\r', "\n");
    let meaningful = lines.chars().filter(|letter| !is_meaningless(*letter));
    let composed: String = meaningful.nfc().collect();
    composed.trim().to_owned()
}

/// Whether a text shows anything: not only white space and characters without a shape.
pub fn is_visible(text: &str) -> bool {
    let shapeless = |letter: char| {
        letter.is_whitespace()
            || letter.is_control()
            || is_meaningless(letter)
            || matches!(letter, '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{180b}'..='\u{180f}'
                | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}'
                | '\u{fe00}'..='\u{fe0f}' | '\u{ffa0}' | '\u{e0000}'..='\u{e0fff}')
    };
    !text.chars().all(shapeless)
}

/// Zero-width space, word joiner, byte order mark, and the code points that are no characters.
fn is_meaningless(letter: char) -> bool {
    matches!(
        letter,
        '\u{200b}' | '\u{2060}' | '\u{feff}' | '\u{fdd0}'..='\u{fdef}'
    ) || u32::from(letter) & 0xfffe == 0xfffe
}

/// A key that sorts names alike on every database when compared bytewise: lower case, Latin letters without accents.
pub fn sort_key(text: &str) -> String {
    text.chars()
        .flat_map(char::to_lowercase)
        .map(plain_letter)
        .collect()
}

/// A name as a slug: `Träume & Co.` becomes `traume-co`. Empty if the name has no Latin letters or digits.
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

/// Whether the text is a slug: 1 to 100 lower-case ASCII letters, digits and single inner hyphens.
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
    fn equal_texts_are_stored_as_equal_bytes() {
        for (typed, stored) in [
            (" one\r\ntwo\rthree ", "one\ntwo\nthree"),
            ("e\u{301}", "é"),
            ("a\u{200b}b\u{feff}c\u{ffff}d\u{1fffe}", "abcd"),
            ("\u{1f469}\u{200d}\u{1f4bb}", "\u{1f469}\u{200d}\u{1f4bb}"),
            ("\u{200b} \u{2060}", ""),
        ] {
            assert_eq!(clean(typed), stored, "{typed:?}");
            assert_eq!(clean(&clean(typed)), stored);
        }
        assert!(is_visible("\u{1f600}") && is_visible("\u{200f}א"));
        for nothing in ["", " ", "\u{200d}", "\u{3164}", "\u{202e}\u{ad}"] {
            assert!(!is_visible(nothing), "{nothing:?}");
        }
    }

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
