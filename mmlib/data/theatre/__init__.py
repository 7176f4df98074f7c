"""The theatre: synthetic clips in which words, a voice and a face show a hidden emotion."""
