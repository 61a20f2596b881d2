//! The little that this protocol needs to know about identifiers.

/// The most bytes of a user, room, event or alias id (appendices, "Common Identifier Format").
pub const MAX_ID_BYTES: usize = 255;

/// The most bytes of a server name. The specification recommends at most 230; ids that contain one may have 255.
pub const MAX_SERVER_NAME_BYTES: usize = 255;

/// The server that allocated a user id, room id or alias: what follows the first colon. Nothing if there is none.
pub fn server_of(id: &str) -> Option<&str> {
    id.split_once(':')
        .map(|(_, server)| server)
        .filter(|server| !server.is_empty())
}

/// Whether `name` follows the grammar of server names (appendices, "Server Name").
pub fn is_server_name(name: &str) -> bool {
    if name.is_empty() || name.len() > MAX_SERVER_NAME_BYTES {
        return false;
    }
    let (host, port) = match name.strip_prefix('[') {
        Some(rest) => {
            let Some((address, rest)) = rest.split_once(']') else {
                return false;
            };
            if address.parse::<std::net::Ipv6Addr>().is_err() {
                return false;
            }
            match rest.strip_prefix(':') {
                Some(port) => (None, Some(port)),
                None if rest.is_empty() => (None, None),
                None => return false,
            }
        }
        None => match name.split_once(':') {
            Some((host, port)) => (Some(host), Some(port)),
            None => (Some(name), None),
        },
    };
    let host_is_good = host.is_none_or(|host| {
        !host.is_empty()
            && host
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.')
    });
    let port_is_good = port.is_none_or(|port| {
        !port.is_empty()
            && port.len() <= 5
            && port.bytes().all(|byte| byte.is_ascii_digit())
            && port.parse::<u16>().is_ok()
    });
    host_is_good && port_is_good
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn server_names_follow_the_grammar() {
        for good in [
            "matrix.org",
            "matrix.org:8888",
            "1.2.3.4",
            "1.2.3.4:1234",
            "[1234:5678::abcd]",
            "[1234:5678::abcd]:5678",
            "MATRIX.org",
        ] {
            assert!(is_server_name(good), "{good}");
        }
        let long = "a".repeat(MAX_SERVER_NAME_BYTES + 1);
        for bad in [
            "",
            ":8448",
            "a b",
            "a/b",
            "host:",
            "host:port",
            "host:123456",
            "host:99999",
            "[::1",
            "[::1]x",
            "[zz]",
            "ho_st",
            "a:1:2",
            "höst",
            &long,
        ] {
            assert!(!is_server_name(bad), "{bad}");
        }
    }

    #[test]
    fn the_server_follows_the_first_colon() {
        assert_eq!(server_of("@a:example.org:8448"), Some("example.org:8448"));
        assert_eq!(server_of("!opaque"), None);
        assert_eq!(server_of("@a:"), None);
    }
}
