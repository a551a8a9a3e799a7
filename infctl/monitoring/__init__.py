"""What is measured, promised and alerted: made from the profile, so that each number is written once. Pure.

terms         what the profile promises and plans, as rules and panels need it
recordings    figures that are computed once and used by rules and panels
alerts/       the alerts, a table a subject; each has a page in docs/runbooks/
rules         both as Prometheus's rule files
notifying     Alertmanager: who is told what, and what is not told while something worse is
names         which metrics an expression asks for, and which there are
"""
