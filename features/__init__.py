"""What a request looks like in numbers: one definition, for training and for serving.

The word rule, the ten features and the graph that computes them. Nothing here knows scikit-learn, the
trainer or the command line.
"""
