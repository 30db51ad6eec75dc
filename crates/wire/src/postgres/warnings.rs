//! Keeps warnings audible. A server that gives up waiting for its replicas says so in a warning, and a session that has
//! set `client_min_messages` to `error` never hears it: its commit would look safe. The proxy asks for `warning` instead,
//! and the client hears a little more than it asked for. Pure text; the tracker and the login call it.

const SETTING: &[u8] = b"client_min_messages";
const HIDING: [&[u8]; 3] = [b"error", b"fatal", b"panic"];
const AUDIBLE: &[u8] = b"warning";

/// Whether warnings do not reach the client at this level.
#[must_use]
pub fn hides(level: &str) -> bool {
    HIDING.iter().any(|hiding| level.as_bytes().eq_ignore_ascii_case(hiding))
}

/// The text with every such level replaced; `None` when there is nothing to replace.
#[must_use]
pub fn audible(text: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let (mut from, mut at) = (0, 0);
    while let Some(found) = find(text, at) {
        at = found + SETTING.len();
        let start = at + lead(&text[at..]);
        let level = text[start..].iter().take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'_').count();
        if start > at && HIDING.iter().any(|hiding| text[start..start + level].eq_ignore_ascii_case(hiding)) {
            out.extend_from_slice(&text[from..start]);
            out.extend_from_slice(AUDIBLE);
            from = start + level;
        }
        at = start + level;
    }
    if from == 0 {
        return None;
    }
    out.extend_from_slice(&text[from..]);
    Some(out)
}

fn find(text: &[u8], from: usize) -> Option<usize> {
    let windows = text.get(from..)?.windows(SETTING.len());
    windows.into_iter().position(|window| window.eq_ignore_ascii_case(SETTING)).map(|at| at + from)
}

/// Length of what stands between the setting's name and its level: quotes, white space, `=`, `,` or TO.
fn lead(text: &[u8]) -> usize {
    let skipped = |text: &[u8], of: &[u8]| text.iter().take_while(|byte| of.contains(byte)).count();
    let mut at = skipped(text, b" \t\r\n'\"=,");
    if text[at..].get(..2).is_some_and(|word| word.eq_ignore_ascii_case(b"to")) {
        let after = skipped(&text[at + 2..], b" \t\r\n'\"");
        if after > 0 {
            at += 2 + after;
        }
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn levels_that_hide_warnings_are_replaced() {
        for (text, expected) in [
            ("SET client_min_messages TO error", "SET client_min_messages TO warning"),
            ("set session CLIENT_MIN_MESSAGES='PANIC';", "set session CLIENT_MIN_MESSAGES='warning';"),
            (
                "select set_config('client_min_messages', 'fatal', false)",
                "select set_config('client_min_messages', 'warning', false)",
            ),
            ("-c client_min_messages=error -c a=b", "-c client_min_messages=warning -c a=b"),
            (
                "set client_min_messages=error; set client_min_messages=panic",
                "set client_min_messages=warning; set client_min_messages=warning",
            ),
        ] {
            let replaced = audible(text.as_bytes()).map(|text| String::from_utf8(text).expect("text"));
            assert_eq!(replaced.as_deref(), Some(expected));
        }
        for text in [
            "SET client_min_messages TO notice",
            "show client_min_messages",
            "select 'error'",
            "client_min_messages",
            "",
        ] {
            assert_eq!(audible(text.as_bytes()), None, "{text}");
        }
        assert!(hides("Error") && !hides("warning"));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(before in "[a-z =',]{0,20}", after in prop::collection::vec(any::<u8>(), 0..30)) {
            let text = [before.as_bytes(), SETTING, &after, SETTING].concat();
            let _ = audible(&text);
        }
    }
}
