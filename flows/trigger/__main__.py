import sys

from flows.trigger.app import main

if __name__ == "__main__":
    sys.exit(main())
