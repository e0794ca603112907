//! The rules one by one, and all together against a model.

mod fold;
mod model;
mod rules;
mod support;
mod tenure;
