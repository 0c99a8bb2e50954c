"""A network as a graph: trace, coupled dimensions, cost, and surgery."""
