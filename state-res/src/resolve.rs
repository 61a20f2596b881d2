//! State resolution: one state out of several, for room versions 1, 2–11 and 12.
