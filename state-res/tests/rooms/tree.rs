//! The state tree against a plain map.

use std::{
    cell::Cell,
    collections::{BTreeMap, BTreeSet},
    convert::Infallible,
};

use proptest::prelude::*;
use rand::{RngExt, SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;
use state_res::{
    ids::{EventKey, StateKeyId},
    tree::{
        self, Change, LEAF_MAX, MemoryNodes, NodeHash, Nodes, Overlay, Root, TreeError, children, count, diff, entries,
        entries_of_type, get, get_all, insert, remove, update,
    },
};

type Model = BTreeMap<StateKeyId, EventKey>;

/// Keys that collide often in their first digits, so that deep and compressed paths appear in small trees.
fn key() -> impl Strategy<Value = StateKeyId> {
    let clustered = (0..4u8, 0..4u8, 0..16u8, 0..16u8).prop_map(|(front, depth, a, b)| {
        let mut bytes = [front << 6; 16];
        bytes[usize::from(depth) * 5] = a << 4 | b;
        bytes[15] ^= b;
        StateKeyId::from_bytes(bytes)
    });
    prop_oneof![3 => clustered, 1 => any::<[u8; 16]>().prop_map(StateKeyId::from_bytes)]
}

fn event() -> impl Strategy<Value = EventKey> {
    any::<[u8; 16]>().prop_map(EventKey::from_bytes)
}

fn changes(max: usize) -> impl Strategy<Value = Vec<(StateKeyId, Option<EventKey>)>> {
    prop::collection::vec((key(), prop::option::weighted(0.7, event())), 0..max)
}

fn apply(model: &mut Model, changes: &[(StateKeyId, Option<EventKey>)]) {
    for (key, event) in changes {
        match event {
            Some(event) => model.insert(*key, *event),
            None => model.remove(key),
        };
    }
}

fn built(nodes: &mut MemoryNodes, model: &Model) -> Root {
    let all: Vec<_> = model.iter().map(|(key, event)| (*key, *event)).collect();
    let (root, new) = insert(nodes, Root::EMPTY, &all).unwrap();
    nodes.extend(new);
    root
}

fn listed(nodes: &MemoryNodes, root: Root) -> Model {
    let all: Vec<_> = entries(nodes, root).collect::<Result<_, _>>().unwrap();
    assert!(all.is_sorted_by(|a, b| a.0 < b.0), "entries come by ascending key");
    all.into_iter().collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Whatever is set and removed, in whatever steps: what the map holds can be read, and the root is that of a tree
    /// which was built from the map at once.
    #[test]
    fn holds_what_a_map_holds(steps in prop::collection::vec(changes(40), 0..12), absent in key()) {
        let mut nodes = MemoryNodes::default();
        let (mut root, mut model) = (Root::EMPTY, Model::new());
        for step in &steps {
            let (next, new) = update(&nodes, root, step).unwrap();
            nodes.extend(new);
            root = next;
            apply(&mut model, step);
            prop_assert_eq!(count(&nodes, root).unwrap() as usize, model.len());
        }
        prop_assert_eq!(&listed(&nodes, root), &model);
        prop_assert_eq!(root, built(&mut MemoryNodes::default(), &model));
        for key in model.keys().chain([&absent]) {
            prop_assert_eq!(get(&nodes, root, *key).unwrap(), model.get(key).copied());
        }
        let keys: Vec<_> = [absent].iter().chain(model.keys().rev()).chain([&absent]).copied().collect();
        let expected: Vec<_> = keys.iter().map(|key| model.get(key).copied()).collect();
        prop_assert_eq!(get_all(&nodes, root, &keys).unwrap(), expected);
    }

    /// The difference is exactly what differs, by ascending key, both ways.
    #[test]
    fn differs_in_what_differs(common in changes(60), left in changes(20), right in changes(20)) {
        let mut nodes = MemoryNodes::default();
        let mut models = [Model::new(), Model::new()];
        for (model, own) in models.iter_mut().zip([&left, &right]) {
            apply(model, &common);
            apply(model, own);
        }
        let roots = [built(&mut nodes, &models[0]), built(&mut nodes, &models[1])];
        let keys: BTreeSet<_> = models.iter().flat_map(|model| model.keys().copied()).collect();
        let expected: Vec<_> = keys
            .into_iter()
            .map(|key| Change { key, left: models[0].get(&key).copied(), right: models[1].get(&key).copied() })
            .filter(|change| change.left != change.right)
            .collect();
        let swapped: Vec<_> =
            expected.iter().map(|change| Change { left: change.right, right: change.left, ..*change }).collect();
        prop_assert_eq!(diff(&nodes, roots[0], roots[1]).unwrap(), expected);
        prop_assert_eq!(diff(&nodes, roots[1], roots[0]).unwrap(), swapped);
    }

    /// The new nodes of a change are enough, with those that were there: nothing else is needed, and none of them is idle.
    #[test]
    fn new_nodes_are_those_needed(before in changes(60), step in changes(10)) {
        let mut nodes = MemoryNodes::default();
        let mut model = Model::new();
        apply(&mut model, &before);
        let root = built(&mut nodes, &model);
        let (next, new) = update(&nodes, root, &step).unwrap();
        let names: BTreeSet<NodeHash> = new.iter().map(|(hash, _)| *hash).collect();
        for (hash, bytes) in &new {
            prop_assert_eq!(NodeHash::of(bytes), *hash);
        }
        nodes.extend(new);
        let reached = reachable(&nodes, next);
        prop_assert!(names.is_subset(&reached), "an idle node was written");
        if root == next {
            prop_assert!(names.is_empty(), "a change of nothing wrote nodes");
        }
    }

    /// Bytes from a broken disk never panic, and never read as a tree of something else.
    #[test]
    fn broken_nodes_are_errors(model in changes(60), flip in any::<prop::sample::Index>(), bit in 0..8u8) {
        let mut nodes = MemoryNodes::default();
        let mut whole = Model::new();
        apply(&mut whole, &model);
        let root = built(&mut nodes, &whole);
        prop_assume!(root != Root::EMPTY);
        let (hash, mut bytes) = nodes.iter().nth(flip.index(nodes.iter().count())).map(|(h, b)| (*h, b.to_vec())).unwrap();
        let at = flip.index(bytes.len());
        bytes[at] ^= 1 << bit;
        let _ = children(&bytes);
        nodes.extend(vec![(hash, bytes)]);
        // A flipped bit of an event or of a child's name is for the store's checksums to find; none may loop or panic.
        let _ = entries(&nodes, root).count();
        let _ = diff(&nodes, root, Root::EMPTY);
        let keys: Vec<_> = whole.keys().copied().collect();
        let _ = remove(&nodes, root, &keys);
    }
}

/// What is no node that a tree could have is no node, or it would read as "no such entry": a branch with a child alone or one child twice, with
/// so few entries that they are a leaf, or with their number written longer than it has to be.
#[test]
fn impossible_branches_are_no_nodes() {
    let branch = |children: &[u8], count: &[u8]| {
        let mut bytes = vec![0x80, (0..children.len()).fold(0, |bits, at| bits | 1 << at)];
        bytes.extend(count);
        children.iter().for_each(|child| bytes.extend([*child; 16]));
        children_of(&bytes)
    };
    assert_eq!(branch(&[1, 2], &[9]), Some(2));
    assert_eq!(branch(&[1, 2, 3], &[0x80, 1]), Some(3));
    for (children, count) in [(&[][..], &[12][..]), (&[1], &[12]), (&[1, 1], &[12]), (&[1, 2, 1], &[12])] {
        assert_eq!(branch(children, count), None, "{children:?}");
    }
    for count in [&[8][..], &[0], &[0x89, 0], &[0x80, 0]] {
        assert_eq!(branch(&[1, 2], count), None, "{count:?}");
    }
}

fn children_of(bytes: &[u8]) -> Option<usize> {
    children(bytes).ok().map(|children| children.len())
}

fn reachable(nodes: &MemoryNodes, root: Root) -> BTreeSet<NodeHash> {
    let mut reached = BTreeSet::new();
    let mut stack: Vec<NodeHash> = root.node().into_iter().collect();
    while let Some(hash) = stack.pop() {
        if reached.insert(hash) {
            let bytes = nodes.node(&hash).unwrap().unwrap();
            stack.extend(children(&bytes).unwrap());
        }
    }
    reached
}

/// Counts how many nodes are read.
struct Counting<'a> {
    nodes: &'a MemoryNodes,
    reads: Cell<usize>,
}

impl<'a> Counting<'a> {
    fn new(nodes: &'a MemoryNodes) -> Self {
        Counting { nodes, reads: Cell::new(0) }
    }
}

impl Nodes for Counting<'_> {
    type Error = Infallible;
    type Bytes = std::sync::Arc<[u8]>;

    fn node(&self, hash: &NodeHash) -> Result<Option<Self::Bytes>, Infallible> {
        self.reads.set(self.reads.get() + 1);
        self.nodes.node(hash)
    }
}

fn event_of(name: &str) -> EventKey {
    EventKey::of(name)
}

fn member(user: u32) -> (StateKeyId, EventKey) {
    (StateKeyId::of("m.room.member", &format!("@user{user}:example.org")), event_of(&format!("$join{user}")))
}

const MEMBERS: u32 = 100_000;

fn large_room(nodes: &mut MemoryNodes) -> Root {
    let mut all: Vec<_> = (0..MEMBERS).map(member).collect();
    for kind in ["m.room.create", "m.room.power_levels", "m.room.join_rules", "m.room.name", "m.room.topic"] {
        all.push((StateKeyId::of(kind, ""), event_of(kind)));
    }
    let (root, new) = insert(nodes, Root::EMPTY, &all).unwrap();
    nodes.extend(new);
    root
}

/// What the tree is for: in a large room one state event adds few small nodes, a lookup reads few, a difference reads in
/// proportion, and listing one type leaves the rest alone.
#[test]
fn costs_little_in_a_large_room() {
    let mut nodes = MemoryNodes::default();
    let root = large_room(&mut nodes);
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let (mut reads, mut written, mut bytes) = (0, 0, 0);
    let samples = 200;
    let mut current = root;
    for _ in 0..samples {
        let (key, event) = member(rng.random_range(0..MEMBERS));
        let counting = Counting::new(&nodes);
        assert_eq!(get(&counting, root, key).unwrap(), Some(event));
        assert!(counting.reads.get() <= 10, "a lookup read {} nodes", counting.reads.get());
        reads += counting.reads.get();

        let replaced = [(key, EventKey::from_bytes(rng.random()))];
        let (next, new) = insert(&nodes, current, &replaced).unwrap();
        written += new.len();
        bytes += new.iter().map(|(_, bytes)| bytes.len()).sum::<usize>();
        nodes.extend(new);
        let counting = Counting::new(&nodes);
        assert_eq!(diff(&counting, current, next).unwrap().len(), 1);
        assert!(counting.reads.get() <= 20, "a difference of one read {} nodes", counting.reads.get());
        current = next;
    }
    let (reads, written, bytes) = (reads / samples, written / samples, bytes / samples);
    println!(
        "{MEMBERS} members: a lookup reads {reads} nodes; a state event writes {written} nodes of {bytes} bytes in all"
    );
    assert!(written <= 8 && bytes <= 960);

    let counting = Counting::new(&nodes);
    let names: Vec<_> = entries_of_type(&counting, root, "m.room.name").collect::<Result<_, _>>().unwrap();
    assert_eq!(names, [(StateKeyId::of("m.room.name", ""), event_of("m.room.name"))]);
    assert!(counting.reads.get() <= 6, "listing one type read {} nodes", counting.reads.get());
    assert_eq!(entries_of_type(&nodes, root, "m.room.member").count(), MEMBERS as usize);
    assert_eq!(entries_of_type(&nodes, root, "m.room.none").count(), 0);
}

/// Equal states have equal roots, in whatever order and in whatever batches they came.
#[test]
fn order_does_not_show() {
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    let mut all: Vec<_> = (0..3000).map(member).collect();
    let (expected, _) = insert(&MemoryNodes::default(), Root::EMPTY, &all).unwrap();
    for _ in 0..4 {
        all.shuffle(&mut rng);
        let mut nodes = Overlay::new(MemoryNodes::default());
        let mut root = Root::EMPTY;
        let mut rest = all.as_slice();
        while !rest.is_empty() {
            let (batch, after) = rest.split_at(rng.random_range(1..=rest.len().min(200)));
            root = nodes.insert(root, batch).unwrap();
            rest = after;
        }
        assert_eq!(root, expected);
        // Of all the states on the way only the last one's nodes are to be stored.
        let mut stored = MemoryNodes::default();
        stored.extend(nodes.into_new_nodes(root).unwrap());
        assert_eq!(entries(&stored, root).count(), 3000);
        assert_eq!(stored.iter().count(), reachable(&stored, root).len());
    }
}

/// A node that is gone is an error for everything that needs it, and never reads as "no such entry".
#[test]
fn missing_nodes_are_errors() {
    let mut nodes = MemoryNodes::default();
    let all: Vec<_> = (0..200).map(member).collect();
    let (root, new) = insert(&nodes, Root::EMPTY, &all).unwrap();
    let gone = new.iter().map(|(hash, _)| *hash).find(|hash| Some(*hash) != root.node()).unwrap();
    nodes.extend(new);
    assert!(nodes.forget(&gone));
    let missing = Err(TreeError::Missing(gone));
    let lookups: Vec<_> = all.iter().map(|(key, _)| get(&nodes, root, *key)).collect();
    assert!(lookups.contains(&missing));
    assert!(lookups.iter().all(|found| *found == missing || matches!(found, Ok(Some(_)))), "an entry read as absent");
    assert_eq!(entries(&nodes, root).collect::<Result<Vec<_>, _>>(), Err(TreeError::Missing(gone)));
    assert_eq!(diff(&nodes, Root::EMPTY, root), Err(TreeError::Missing(gone)));
    let keys: Vec<_> = all.iter().map(|(key, _)| *key).collect();
    assert!(matches!(remove(&nodes, root, &keys), Err(TreeError::Missing(_))));
    assert_eq!(get(&MemoryNodes::default(), root, keys[0]), Err(TreeError::Missing(root.node().unwrap())));
}

/// A node in the wrong place, a cycle above all, is an error.
#[test]
fn misplaced_nodes_are_errors() {
    let mut nodes = MemoryNodes::default();
    let all: Vec<_> = (0..200).map(member).collect();
    let (root, new) = insert(&nodes, Root::EMPTY, &all).unwrap();
    let top = new.iter().find(|(hash, _)| Some(*hash) == root.node()).unwrap().1.clone();
    let below = children(&top).unwrap();
    nodes.extend(new);
    for child in below {
        nodes.extend(vec![(child, top.clone())]);
    }
    assert!(matches!(entries(&nodes, root).next(), Some(Err(TreeError::Corrupt(_)))));
    assert!(all.iter().all(|(key, _)| matches!(get(&nodes, root, *key), Err(TreeError::Corrupt(_)))));
}

/// These bytes are on disk: a change here needs a migration.
#[test]
fn format_is_stable() {
    let at = |n: u8| (StateKeyId::from_bytes([n; 16]), EventKey::from_bytes([n ^ 0xff; 16]));
    let (_, leaf) = insert(&MemoryNodes::default(), Root::EMPTY, &[at(0x11), at(0x12)]).unwrap();
    let mut expected = vec![2, 0];
    for n in [0x11u8, 0x12] {
        expected.extend([n; 16]);
        expected.extend([n ^ 0xff; 16]);
    }
    assert_eq!(leaf, [(NodeHash::of(&expected), expected)]);

    let many: Vec<_> = (0x10..0x10 + LEAF_MAX as u8 + 1).map(at).collect();
    let (root, new) = insert(&MemoryNodes::default(), Root::EMPTY, &many).unwrap();
    let top = &new.iter().find(|(hash, _)| Some(*hash) == root.node()).unwrap().1;
    // A prefix of three bits, all 0; children 4 to 6, for the three bits that follow; nine entries; three hashes.
    assert_eq!(top[..4], [0x83, 0, 0b111_0000, 9]);
    assert_eq!(top.len(), 4 + 3 * 16);
    assert_eq!(Root::from_bytes(*root.as_bytes()), root);
    assert_eq!(tree::Root::EMPTY.as_bytes(), &[0; 16]);
}
