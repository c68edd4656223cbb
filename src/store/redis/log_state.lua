-- ARGV[3], ARGV[4]: epoch and ID of the cursor, empty for the beginning.
lost_since(ARGV[3], ARGV[4])
return { now, now - intact }
