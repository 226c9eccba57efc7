//! An interval tree for the peer that keeps ranges under a mutex: a treap by first byte in which each node knows the
//! largest last byte below it. Its nodes are numbers in an array, so it can lie in shared memory.

pub const NODES: usize = 2048;

/// Zero bytes are an empty tree. Node 0 is nobody.
#[derive(Clone, Copy, Default)]
struct Node {
    first: u64,
    last: u64,
    /// The largest `last` of this node and those below it.
    most: u64,
    left: u32,
    right: u32,
}

pub struct Tree {
    root: u32,
    /// Head of the list of nodes that were removed, linked by `left`.
    free: u32,
    /// How many nodes were ever used.
    used: u32,
    nodes: [Node; NODES],
}

impl Tree {
    fn at(&mut self, node: u32) -> &mut Node {
        &mut self.nodes[node as usize]
    }

    pub fn overlaps(&self, first: u64, last: u64) -> bool {
        let mut at = self.root;
        while at != 0 {
            let node = &self.nodes[at as usize];
            if node.first <= last && first <= node.last {
                return true;
            }
            let left = node.left != 0 && self.nodes[node.left as usize].most >= first;
            at = if left { node.left } else { node.right };
        }
        false
    }

    /// Adds a range that overlaps none.
    pub fn insert(&mut self, first: u64, last: u64) {
        let new = self.take();
        *self.at(new) = Node {
            first,
            last,
            most: last,
            ..Node::default()
        };
        self.root = self.put(self.root, new);
    }

    pub fn remove(&mut self, first: u64) {
        self.root = self.cut(self.root, first);
    }

    fn take(&mut self) -> u32 {
        if self.free != 0 {
            let node = self.free;
            self.free = self.at(node).left;
            return node;
        }
        self.used += 1;
        assert!((self.used as usize) < NODES, "more ranges than nodes");
        self.used
    }

    /// The new root of the tree at `at` with `new` in it.
    fn put(&mut self, at: u32, new: u32) -> u32 {
        if at == 0 {
            return new;
        }
        let key = self.at(new).first;
        if priority(new) > priority(at) {
            let (left, right) = self.split(at, key);
            let node = self.at(new);
            (node.left, node.right) = (left, right);
            self.sum(new);
            return new;
        }
        if key < self.at(at).first {
            let left = self.at(at).left;
            self.at(at).left = self.put(left, new);
        } else {
            let right = self.at(at).right;
            self.at(at).right = self.put(right, new);
        }
        self.sum(at);
        at
    }

    /// What begins before `key`, and the rest.
    fn split(&mut self, at: u32, key: u64) -> (u32, u32) {
        if at == 0 {
            return (0, 0);
        }
        let node = *self.at(at);
        if node.first < key {
            let (left, right) = self.split(node.right, key);
            self.at(at).right = left;
            self.sum(at);
            (at, right)
        } else {
            let (left, right) = self.split(node.left, key);
            self.at(at).left = right;
            self.sum(at);
            (left, at)
        }
    }

    /// The new root of the tree at `at` without the range that begins at `key`.
    fn cut(&mut self, at: u32, key: u64) -> u32 {
        assert!(at != 0, "a range that isn't there");
        let node = *self.at(at);
        if node.first == key {
            let rest = self.join(node.left, node.right);
            self.at(at).left = self.free;
            self.free = at;
            return rest;
        }
        if key < node.first {
            self.at(at).left = self.cut(node.left, key);
        } else {
            self.at(at).right = self.cut(node.right, key);
        }
        self.sum(at);
        at
    }

    fn join(&mut self, left: u32, right: u32) -> u32 {
        if left == 0 || right == 0 {
            return left + right;
        }
        if priority(left) > priority(right) {
            let middle = self.at(left).right;
            self.at(left).right = self.join(middle, right);
            self.sum(left);
            left
        } else {
            let middle = self.at(right).left;
            self.at(right).left = self.join(left, middle);
            self.sum(right);
            right
        }
    }

    fn sum(&mut self, at: u32) {
        let node = *self.at(at);
        let below = |n: u32| {
            if n == 0 {
                0
            } else {
                self.nodes[n as usize].most
            }
        };
        let most = node.last.max(below(node.left)).max(below(node.right));
        self.at(at).most = most;
    }
}

/// As good as random, and the same in every process.
fn priority(node: u32) -> u32 {
    node.wrapping_mul(0x9E37_79B9)
        .rotate_left(16)
        .wrapping_mul(0x85EB_CA6B)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Against a plain list.
    #[test]
    fn finds_what_a_list_finds() {
        let mut tree = Tree {
            root: 0,
            free: 0,
            used: 0,
            nodes: [Node::default(); NODES],
        };
        let (mut list, mut found): (Vec<(u64, u64)>, _) = (Vec::new(), 0);
        let mut random = 88_172_645_463_325_252_u64;
        let mut below = |n: u64| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            (random >> 11) % n
        };
        for _ in 0..20_000 {
            let first = below(10_000);
            let last = first + below(30);
            let taken = list.iter().any(|(f, l)| *f <= last && first <= *l);
            assert_eq!(tree.overlaps(first, last), taken, "{first}..={last}");
            found += u32::from(taken);
            if !taken && list.len() < 400 {
                tree.insert(first, last);
                list.push((first, last));
            } else if taken {
                let (first, _) = list.swap_remove(below(list.len() as u64) as usize);
                tree.remove(first);
            }
        }
        assert!(found > 1000 && list.len() > 50, "{found} {}", list.len());
    }
}
