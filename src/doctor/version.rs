//! How far two versions are apart.

/// How far a client is from the controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Apart {
    /// The same.
    Same,
    /// No more than one minor version.
    Near,
    /// More: fields and messages of one may be unknown to the other.
    Far,
}

/// How far two versions are apart; nothing where one of them is no version.
pub fn apart(one: &str, other: &str) -> Option<Apart> {
    let ((major, minor), (theirs, their_minor)) = (parts(one)?, parts(other)?);
    let same = one.trim_start_matches('v') == other.trim_start_matches('v');
    Some(match (same, major == theirs, minor.abs_diff(their_minor)) {
        (true, ..) => Apart::Same,
        (_, true, 0 | 1) => Apart::Near,
        _ => Apart::Far,
    })
}

fn parts(version: &str) -> Option<(u64, u64)> {
    let mut numbers = version.trim_start_matches('v').split(['.', '-', '+']);
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// The tag of an image; nothing where it has none.
pub fn of_image(image: &str) -> Option<&str> {
    let name = image.split('@').next()?;
    let tag = name.rsplit_once(':').map(|(_, tag)| tag)?;
    (!tag.contains('/') && !tag.is_empty()).then_some(tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_minor_version_is_near_and_more_is_far() {
        for (one, other, wanted) in [
            ("0.3.1", "v0.3.1", Some(Apart::Same)),
            ("0.3.1", "0.3.2", Some(Apart::Near)),
            ("0.3.0", "0.4.0-rc1", Some(Apart::Near)),
            ("0.3.0", "0.5.0", Some(Apart::Far)),
            ("1.0.0", "0.9.0", Some(Apart::Far)),
            ("0.3.0", "latest", None),
        ] {
            assert_eq!(apart(one, other), wanted, "{one} {other}");
        }
    }

    #[test]
    fn the_port_of_a_registry_is_no_tag() {
        assert_eq!(of_image("registry.example.com:5000/haldane:0.3.0@sha256:abc"), Some("0.3.0"));
        assert_eq!(of_image("registry.example.com:5000/haldane"), None);
        assert_eq!(of_image("haldane"), None);
    }
}
