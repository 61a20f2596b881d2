//! Resolving states, compared with the specification written down plainly.

use state_res::{pdu::Pdu, resolve::resolve};

use super::{
    bytes::Bytes,
    letter,
    rooms::{Room, State},
};

/// Bytes make a room and states of it: whatever order they come in, the resolution is that of the specification.
pub fn resolution(data: &[u8]) {
    let mut room = Room::of(&mut Bytes::new(data));
    let states = room.states.clone();
    let resolved = run(&mut room, &states);
    assert_eq!(resolved, letter::resolve(room.version, &room, &states, None), "version {}", room.version);

    // What the store knows of the graph makes it faster and nothing else.
    room.tell(true);
    assert_eq!(run(&mut room, &states), resolved, "version {}, with an index", room.version);

    let mut reordered = states.clone();
    reordered.reverse();
    assert_eq!(run(&mut room, &reordered), resolved, "the order of the states shows");
    reordered.rotate_left(1);
    reordered.push(states[0].clone());
    assert_eq!(run(&mut room, &reordered), resolved, "a state counts twice");
    let again = [resolved.clone(), resolved.clone()];
    assert_eq!(run(&mut room, &again), resolved, "a state is its own resolution");

    for (place, id) in &states[0] {
        if states.iter().all(|state| state.get(place) == Some(id)) {
            assert_eq!(resolved.get(place), Some(id), "what all states have stays");
        }
    }
    for (place, id) in &resolved {
        let event: &Pdu = &room.events[id];
        assert_eq!(super::rooms::place(event), *place);
    }
}

fn run(room: &mut Room, states: &[State]) -> State {
    let roots: Vec<_> = states.iter().map(|state| room.root(state)).collect();
    let (root, new) = resolve(room.version, &roots, &*room).expect("everything is there");
    room.keep(new);
    let resolved = room.state(root);
    assert_eq!(room.root(&resolved), root, "equal states have equal roots");
    resolved
}
