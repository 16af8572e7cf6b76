"""moto's server, answering one request at a time.

Its state is dictionaries without locks: a request that walks one while another adds to
it ends in "dictionary changed size during iteration", and its caller gets a 500.
"""

from moto import server

run = server.run_simple
server.run_simple = lambda *args, **options: run(*args, **options | {"threaded": False})
server.main()
