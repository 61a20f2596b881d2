//! The server's mind: accounts, devices, rooms, timelines, sync, keys, push.
