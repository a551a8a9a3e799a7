"""Several processes of one gateway: a parent that serves nothing, and workers that serve.

    parent     reads the files, holds the port, starts workers, knows what operators wished
    worker     a whole gateway process (gateway.worker); its `link` leads to the parent
    channel    questions and answers between the two, over a pair of sockets without a name

Whatever one worker cannot know alone goes through the parent: sums, drains, reloads, the stop.
"""
