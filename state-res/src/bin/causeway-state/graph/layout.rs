//! Where events go in a picture: in layers, each event below all that it follows, so that few lines cross.
//!
//! The method is that of Sugiyama, Tagawa and Toda (1981): layers by the longest path, lines through several layers split by
//! invisible nodes, each layer sorted by the middle of its neighbours' places, a few times down and up.

/// How often the layers are gone through to sort them, and again to place them.
const SWEEPS: usize = 12;

/// The longest line, in layers, that gets invisible nodes. A longer one goes straight.
const MAX_SPLIT_LAYERS: usize = 40;

/// Sizes in pixels.
pub(super) struct Sizes {
    /// From the middle of a node to the middle of its neighbour.
    pub(super) node_width: f64,
    /// The same for a line that passes between nodes.
    pub(super) line_width: f64,
}

/// The layout of a graph.
pub(super) struct Layout {
    /// For each node its layer, from the top, and the middle of its place in it.
    pub(super) nodes: Vec<(usize, f64)>,
    /// For each line the layers and places that it passes on its way up, without its ends.
    pub(super) bends: Vec<Vec<(usize, f64)>>,
    /// How many layers there are.
    pub(super) layers: usize,
    /// How far right places go.
    pub(super) width: f64,
}

/// Lays out `count` nodes. `lines` go from a node to one above it; `order` are more such pairs that are not drawn.
pub(super) fn layout(count: usize, lines: &[(usize, usize)], order: &[(usize, usize)], sizes: &Sizes) -> Layout {
    let mut layers = layers(count, lines.iter().chain(order));
    lower_roots(&mut layers, lines.iter().chain(order));
    let mut grid = Grid::new(&layers, lines);
    grid.sort();
    let places = grid.place(sizes);
    let nodes = (0..count).map(|node| (layers[node], places[node])).collect();
    let bends = grid.bends.iter().map(|bends| bends.iter().map(|slot| (grid.layer_of[*slot], places[*slot])).collect());
    Layout {
        nodes,
        bends: bends.collect(),
        layers: grid.layers.len(),
        width: places.iter().copied().fold(0.0, f64::max) + sizes.node_width / 2.0,
    }
}

/// For each node the number of nodes on the longest way up from it. Pairs that close a cycle do not count.
fn layers<'a>(count: usize, pairs: impl Iterator<Item = &'a (usize, usize)>) -> Vec<usize> {
    let mut above: Vec<Vec<usize>> = vec![Vec::new(); count];
    for (node, earlier) in pairs {
        above[*node].push(*earlier);
    }
    let mut layers: Vec<Option<usize>> = vec![None; count];
    let mut is_underway = vec![false; count];
    for start in 0..count {
        let mut stack = vec![start];
        while let Some(&node) = stack.last() {
            if layers[node].is_some() {
                stack.pop();
            } else if std::mem::replace(&mut is_underway[node], true) {
                let highest = above[node].iter().filter_map(|earlier| layers[*earlier]).max();
                layers[node] = Some(highest.map_or(0, |layer| layer + 1));
                stack.pop();
            } else {
                stack.extend(above[node].iter().filter(|earlier| !is_underway[**earlier]));
            }
        }
    }
    layers.into_iter().map(Option::unwrap_or_default).collect()
}

/// Puts nodes with nothing above them no higher than the nodes below need.
fn lower_roots<'a>(layers: &mut [usize], pairs: impl Iterator<Item = &'a (usize, usize)>) {
    let mut is_root = vec![true; layers.len()];
    let mut highest_below = vec![None::<usize>; layers.len()];
    for (node, earlier) in pairs {
        is_root[*node] = false;
        let below = &mut highest_below[*earlier];
        *below = Some(below.map_or(layers[*node], |before| before.min(layers[*node])));
    }
    for (node, below) in highest_below.into_iter().enumerate().filter(|(node, _)| is_root[*node]) {
        layers[node] = below.unwrap_or_default().saturating_sub(1);
    }
}

/// Nodes, and the invisible ones of lines, in layers.
struct Grid {
    layer_of: Vec<usize>,
    /// The slots of each layer from left to right.
    layers: Vec<Vec<usize>>,
    /// For each slot those it is joined to in the next layer above, and below.
    above: Vec<Vec<usize>>,
    below: Vec<Vec<usize>>,
    /// The invisible slots of each line, from below.
    bends: Vec<Vec<usize>>,
    nodes: usize,
}

impl Grid {
    fn new(layer_of: &[usize], lines: &[(usize, usize)]) -> Self {
        let nodes = layer_of.len();
        let mut grid = Grid {
            layer_of: layer_of.to_vec(),
            layers: vec![Vec::new(); layer_of.iter().max().map_or(0, |highest| highest + 1)],
            above: vec![Vec::new(); nodes],
            below: vec![Vec::new(); nodes],
            bends: Vec::new(),
            nodes,
        };
        for (node, layer) in layer_of.iter().enumerate() {
            grid.layers[*layer].push(node);
        }
        for (from, to) in lines {
            let (low, high) = (layer_of[*from], layer_of[*to]);
            let mut bends = Vec::new();
            // A line of a cycle goes down or along; it is drawn and counts for nothing else.
            if low > high && low - high <= MAX_SPLIT_LAYERS {
                let mut last = *from;
                for layer in (high + 1..low).rev() {
                    let slot = grid.layer_of.len();
                    grid.layer_of.push(layer);
                    grid.above.push(Vec::new());
                    grid.below.push(Vec::new());
                    grid.layers[layer].push(slot);
                    grid.join(last, slot);
                    bends.push(slot);
                    last = slot;
                }
                grid.join(last, *to);
            }
            grid.bends.push(bends);
        }
        grid
    }

    fn join(&mut self, lower: usize, upper: usize) {
        self.above[lower].push(upper);
        self.below[upper].push(lower);
    }

    /// Sorts each layer by the middle of the neighbours above, then below, and so on.
    fn sort(&mut self) {
        let mut at: Vec<f64> = vec![0.0; self.layer_of.len()];
        for layer in &self.layers {
            for (place, slot) in layer.iter().enumerate() {
                at[*slot] = place as f64;
            }
        }
        for sweep in 0..SWEEPS {
            let is_down = sweep % 2 == 0;
            for step in 0..self.layers.len() {
                let number = if is_down { step } else { self.layers.len() - 1 - step };
                let neighbours = if is_down { &self.above } else { &self.below };
                let layer = &mut self.layers[number];
                let mut wanted: Vec<(f64, usize)> =
                    layer.iter().map(|slot| (middle(&neighbours[*slot], &at).unwrap_or(at[*slot]), *slot)).collect();
                wanted.sort_by(|(a, _), (b, _)| a.total_cmp(b));
                for (place, (_, slot)) in wanted.iter().enumerate() {
                    at[*slot] = place as f64;
                }
                *layer = wanted.into_iter().map(|(_, slot)| slot).collect();
            }
        }
    }

    /// Puts each slot as near to the middle of its neighbours as its layer allows.
    fn place(&self, sizes: &Sizes) -> Vec<f64> {
        let half = |slot: usize| if slot < self.nodes { sizes.node_width / 2.0 } else { sizes.line_width / 2.0 };
        let mut at: Vec<f64> = vec![0.0; self.layer_of.len()];
        for sweep in 0..=SWEEPS {
            let is_down = sweep % 2 == 0;
            for step in 0..self.layers.len() {
                let layer = &self.layers[if is_down { step } else { self.layers.len() - 1 - step }];
                let neighbours = if is_down { &self.above } else { &self.below };
                let wanted: Vec<f64> =
                    layer.iter().map(|slot| middle(&neighbours[*slot], &at).unwrap_or(at[*slot])).collect();
                let apart = |left: usize, right: usize| half(layer[left]) + half(layer[right]);
                // Two ways to keep apart, pushing to the right and pushing to the left; their mean keeps apart too.
                let mut right = wanted.clone();
                for place in 1..layer.len() {
                    right[place] = right[place].max(right[place - 1] + apart(place - 1, place));
                }
                let mut left = wanted;
                for place in (1..layer.len()).rev() {
                    left[place - 1] = left[place - 1].min(left[place] - apart(place - 1, place));
                }
                for (place, slot) in layer.iter().enumerate() {
                    at[*slot] = (left[place] + right[place]) / 2.0;
                }
            }
        }
        let leftmost = at.iter().enumerate().map(|(slot, at)| at - half(slot)).fold(f64::INFINITY, f64::min);
        at.into_iter().map(|at| at - leftmost).collect()
    }
}

fn middle(of: &[usize], at: &[f64]) -> Option<f64> {
    (!of.is_empty()).then(|| of.iter().map(|slot| at[*slot]).sum::<f64>() / of.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZES: Sizes = Sizes { node_width: 100.0, line_width: 10.0 };

    /// Every line goes up, no two nodes overlap, and nothing is left of the edge.
    #[test]
    fn nodes_keep_apart_and_lines_go_up() {
        // A fork of two branches of unlike length, a merge, and a line across everything.
        let lines = [(1, 0), (2, 1), (3, 2), (4, 1), (5, 3), (5, 4), (6, 0), (6, 5)];
        let laid = layout(7, &lines, &[], &SIZES);
        assert_eq!(laid.layers, 6);
        for ((from, to), bends) in lines.iter().zip(&laid.bends) {
            let mut layer = laid.nodes[*from].0;
            for (next, _) in bends {
                assert_eq!(*next + 1, layer);
                layer = *next;
            }
            assert_eq!(laid.nodes[*to].0 + 1, layer);
        }
        for (a, left) in laid.nodes.iter().enumerate() {
            assert!(left.1 >= SIZES.node_width / 2.0 - 0.001);
            for right in &laid.nodes[a + 1..] {
                assert!(left.0 != right.0 || (left.1 - right.1).abs() >= SIZES.node_width - 0.001);
            }
        }
    }

    /// Room versions 1 and 2 let senders make cycles.
    #[test]
    fn cycles_end() {
        let laid = layout(3, &[(0, 1), (1, 2), (2, 0)], &[(0, 0)], &SIZES);
        assert_eq!(laid.layers, 3);
        assert_eq!(layout(0, &[], &[], &SIZES).layers, 0);
    }
}
