"""Features of networks: stimuli go through one, and its layers become models of a store.

``run`` is the loop; ``stimuli`` says where images and texts come from, ``networks`` has a file for
each library, ``layers`` which outputs are taken, ``pooling`` what of them is kept.
"""
