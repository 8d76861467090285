from tests.commands import call as call
