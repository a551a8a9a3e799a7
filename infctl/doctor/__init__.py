"""Looks at a machine and a profile before anything is started, and at a start that failed. Changes nothing.

finding    what a check found: a verdict, why it matters, what to do, the place in the profile
case       what is looked at: profile, plan, stack, Docker, this machine
check      a check is a name and two functions; many are run at once, each within its time
checks     one file a check         security   the eight practices, one file each
startup    the log of an engine that did not start -> the place in the profile and a value that fits
"""
