"""What surrounds the notebooks: the command line, executions by the thousand, exercises. Notebooks import vizlib only.

From the ground up (a module imports only from those above it, and from vizlib):

commands     `python -m vizlib …`: doctor, finetune
"""
