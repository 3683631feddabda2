"""The same model past one machine: the stages of bulk linking as jobs of Spark, over the same definitions and functions."""
