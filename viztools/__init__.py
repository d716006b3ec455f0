"""What surrounds the notebooks: the command line, executions by the thousand, exercises. Notebooks import vizlib only.

From the ground up (a module imports only from those above it, and from vizlib):

records      what an execution leaves in its folder; the ledger of a sweep
examine      a student's function held against an exercise; pictures with alt text (`vizlib.check`)
points       sweep files and parameters, checked → points
kernel       the process that executes points in a warm kernel
execute      one point in such a process, under limits of time and memory
sweep        many points, each once, here or on a Dask cluster
gallery      a sweep as a table and as a page
lessons      the mathematics that exercises are held against
exercises    students' notebooks from the solved ones
commands     `python -m vizlib …`
"""
