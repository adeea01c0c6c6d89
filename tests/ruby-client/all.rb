# frozen_string_literal: true

# Runs every *_test.rb here: the gem on real nodes that die, answer late or reject.

# Those of gems on this machine would change the output.
ENV["MT_NO_PLUGINS"] = "1"

require_relative "support/case"

Dir[File.join(__dir__, "*_test.rb")].sort.each { |file| require file }

# However this process is ended, its servers end with it.
trap("TERM") { exit(1) }
exit(Minitest.run(["--verbose", *ARGV]) ? 0 : 1)
