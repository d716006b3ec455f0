"""What surrounds the notebooks: the command line, executions by the thousand, exercises. Notebooks import vizlib only.

From the ground up (a module imports only from those above it, and from vizlib):

lessons      the mathematics that exercises are held against
exercises    students' notebooks from the solved ones
commands     `python -m vizlib …`: doctor, finetune, exercises
"""
