"""From pages of metrics to rates, for `infctl status --watch` and `infctl top`. Pure; time is an argument.

counts    a moment's pages -> the few sums that are shown, by backend, model and tenant
past      the moments before, thinned out; two of them are a rate
"""
