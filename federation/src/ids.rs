//! The little that this protocol needs to know about identifiers.

/// The most bytes of a user, room, event or alias id (appendices, "Common Identifier Format").
pub const MAX_ID_BYTES: usize = 255;

/// The most bytes of a server name. The specification recommends at most 230; ids that contain one may have 255.
pub const MAX_SERVER_NAME_BYTES: usize = 255;

/// The server that allocated a user id, room id or alias: what follows the first colon. Nothing if there is none.
pub fn server_of(id: &str) -> Option<&str> {
    id.split_once(':').map(|(_, server)| server).filter(|server| !server.is_empty())
}

/// Whether `name` follows the grammar of server names (appendices, "Server Name").
pub fn is_server_name(name: &str) -> bool {
    crate::discovery::ServerName::parse(name).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_server_follows_the_first_colon() {
        assert_eq!(server_of("@a:example.org:8448"), Some("example.org:8448"));
        assert_eq!(server_of("!opaque"), None);
        assert_eq!(server_of("@a:"), None);
    }
}
