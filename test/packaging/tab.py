"""Types a line into an interactive shell on a terminal of its own, presses TAB, and prints what stands on the
line then.   tab.py bash|zsh SCRIPT FOLDER LINE
SCRIPT is the completion, FOLDER is an empty one for the shell's settings. The shell's own words are the
conditions waited for; after twenty seconds all ends."""
import os
import pty
import re
import signal
import sys

shell, script, folder, line = sys.argv[1:]
# Ctrl-X shows the line between marks; what the terminal echoes has none.
SETTINGS = {
    "bash": """
source %s
bind -x '"\\C-x": printf "<%%s%%s>" "<$READLINE_LINE" ">"'
bind 'set bell-style none'
PS1='READY'
""",
    "zsh": """
autoload -Uz compinit && compinit -u -D
source %s
show() { printf '<%%s%%s>' "<$BUFFER" '>' }
zle -N show
bindkey '^X' show
unsetopt beep prompt_sp
PS1='READY'
""",
}
name = {"bash": "rc", "zsh": ".zshrc"}[shell]
with open(os.path.join(folder, name), "w") as file:
    file.write(SETTINGS[shell] % script)
command = ["bash", "--noprofile", "--rcfile", os.path.join(folder, name), "-i"] if shell == "bash" else ["zsh", "-i"]

signal.alarm(20)
child, terminal = pty.fork()
if child == 0:
    os.execvpe(command[0], command, {**os.environ, "TERM": "dumb", "ZDOTDIR": folder, "COLUMNS": "200"})
seen = b""


def wait_for(pattern):
    global seen
    while True:
        found = re.search(pattern, seen, re.S)
        if found:
            return found
        seen += os.read(terminal, 4096)


wait_for(rb"READY")
seen = b""
os.write(terminal, line.encode() + b"\t\x18")
print(wait_for(rb"<<(.*?)>>").group(1).decode())
os.kill(child, signal.SIGKILL)
os.waitpid(child, 0)
