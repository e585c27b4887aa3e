"""The signature and the help text of every command.

Modules import nothing heavy at their top: `everymode --help` loads all of them, and PyTorch alone
takes seconds. What a command needs is imported when the command runs.
"""
