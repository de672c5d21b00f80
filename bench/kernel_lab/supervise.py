"""Runs GPU work in a child process that is killed when it falls silent, so that a kernel that hangs costs
no more. The parent must never touch the GPU, and the file that is run needs `if __name__ == "__main__"`.
"""

import multiprocessing
import traceback

SILENCE_S = 20


def child(connection, work, arguments):
    say = connection.send
    try:
        work(*arguments, say)
        say(("end", ""))
    except BaseException as error:
        text = str(error) if isinstance(error, AssertionError) else traceback.format_exc(limit=-4)
        say(("end", text))


def supervise(work, arguments, heard):
    """Runs `work` in a child; whether it came to a good end. What it says goes to `heard`."""
    # A forked child would share what the parent's libraries have started.
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=child, args=(there, work, arguments), daemon=True)
    process.start()
    there.close()
    last = "the start"
    try:
        while here.poll(SILENCE_S):
            message = here.recv()
            if message[0] == "end":
                if message[1]:
                    heard(f"FAILS after '{last}':\n{message[1]}")
                return not message[1]
            heard(message)
            if isinstance(message, str):
                last = message
        heard(f"HANGS: silent for {SILENCE_S} s after '{last}'")
        process.kill()
    except EOFError:
        process.join(5)
        heard(f"DIED with exit code {process.exitcode} after '{last}'")
    finally:
        process.join(5)
        if process.is_alive():
            process.kill()
    return False
