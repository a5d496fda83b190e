//! A tree of stories: texts that begin alike and part where another token was chosen.

use crate::token::TokenId;
use alloc::vec::Vec;

/// A token in the tree.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// The node before it; `None` of the root, which stands for the prompt.
    pub parent: Option<usize>,
    /// The token; of the root, none that counts.
    pub token: TokenId,
    /// The nodes after it, in the order in which they came.
    pub children: Vec<usize>,
    /// Its probability by the model.
    pub probability: f64,
    /// By hand rather than by the sampler.
    pub by_hand: bool,
}

/// The tree. Node 0 is the root.
#[derive(Debug, Clone, PartialEq)]
pub struct StoryTree {
    nodes: Vec<Node>,
}

impl Default for StoryTree {
    fn default() -> Self {
        let root = Node { parent: None, token: 0, children: Vec::new(), probability: 1.0, by_hand: false };
        StoryTree { nodes: vec![root] }
    }
}

impl StoryTree {
    /// All nodes; a node comes after its parent.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The child of `parent` with `token`: the one that is there, else a new one.
    pub fn child(&mut self, parent: usize, token: TokenId, probability: f64, by_hand: bool) -> usize {
        let known = self.nodes[parent].children.iter().find(|child| self.nodes[**child].token == token);
        if let Some(known) = known {
            return *known;
        }
        let new = self.nodes.len();
        self.nodes.push(Node { parent: Some(parent), token, children: Vec::new(), probability, by_hand });
        self.nodes[parent].children.push(new);
        new
    }

    /// The tokens from the root to `node`.
    pub fn path(&self, node: usize) -> Vec<TokenId> {
        let mut path = Vec::new();
        let mut at = node;
        while let Some(parent) = self.nodes[at].parent {
            path.push(self.nodes[at].token);
            at = parent;
        }
        path.reverse();
        path
    }

    /// The next node of the same parent, the first one after the last; the root itself.
    pub fn sibling(&self, node: usize) -> usize {
        let Some(parent) = self.nodes[node].parent else { return node };
        let siblings = &self.nodes[parent].children;
        let place = siblings.iter().position(|other| *other == node).unwrap_or(0);
        siblings[(place + 1) % siblings.len()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stories_that_begin_alike_share_their_beginning() {
        let mut tree = StoryTree::default();
        let a = tree.child(0, 7, 0.5, false);
        let b = tree.child(a, 8, 0.25, true);
        let c = tree.child(a, 9, 0.125, false);
        assert_eq!(tree.child(a, 8, 0.25, false), b);
        assert_eq!((tree.path(b), tree.path(c), tree.path(0)), (vec![7, 8], vec![7, 9], vec![]));
        assert_eq!((tree.sibling(b), tree.sibling(c), tree.sibling(a), tree.sibling(0)), (c, b, a, 0));
        assert!(tree.nodes()[b].by_hand && tree.nodes()[a].children == [b, c]);
    }
}
