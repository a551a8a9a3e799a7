"""What synthetic prompts are made of: words that are one token each, with the space before them.

Each was looked up in the tokenizers of SmolLM2 (byte pairs, GPT-2's kind) and MiniLM (word pieces, BERT's).
Other tokenizers may cut some of them: how many tokens a prompt was is what the server counted.
"""

from __future__ import annotations

WORDS = (  # noqa: SIM905 - a page of quotes and commas is harder to read
    """
    action activity age air american area arm art attention baby back bad big bird black blue body
    bottom box boy bread bright brother building business car center chance circle class clean close
    cloth cloud cold college community company computer control cost country couple court dance dark day
    death decision deep development director doctor dog door drug early earth edge education effect
    effort empty event experience eye face family far fast father field figure film fire fish flower
    foot force form friend game garden glass good government green ground group guy hair hand happy hard
    hat head health heart heat high history home horse hot hour house idea image industry information
    interest iron issue job key kid king land late law leader leaf left level life light line lock long
    look loud low map mark market matter member middle milk mind minute money morning mother movie music
    name nation near need new news night north note number office open order others paper parent part
    people person phone picture piece place plan plane player police poor position power president price
    problem product program project queen question quiet rain rate reason record relationship report
    research result rich ring role sad sea season sense service ship shirt shoe show sign silver site
    situation small snow society soft son song source south space spring square star state story strong
    study summer sun system table teacher technology test thing town train tree type use value voice war
    water way weak wheel white whole wide wife wind window word worker world year young
    """
).split()
"""256: a number in words is written in that base."""
