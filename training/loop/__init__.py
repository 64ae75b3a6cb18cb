"""The training loop: batches, objective, optimiser steps, checkpoints and journal, over one process or many."""
