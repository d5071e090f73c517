"""`kata bench`: how fast the references are, beside the naive way, the learner's own code and the libraries of the field.

work (what a bench file says) <- child (one process for each number of threads, measures) <- app (the command: starts
children, gathers) ; machine, table and plot describe what was measured. torch is imported in the children only.
"""
