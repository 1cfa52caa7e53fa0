/* The disk's own share of a submission: standard input into FOLDER/draft, synced, linked to FOLDER/entry,
 * the folder synced, the draft unlinked; then the entry too, so that it can be run again. */
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

int main(int argc, char **argv) {
  static char buffer[1 << 16];
  ssize_t got;
  if (argc != 2 || chdir(argv[1]) != 0) return 64;
  int draft = open("draft", O_RDWR | O_CREAT | O_EXCL, 0600);
  while ((got = read(0, buffer, sizeof buffer)) > 0)
    if (write(draft, buffer, got) != got) return 74;
  if (got < 0 || fsync(draft) != 0 || close(draft) != 0 || link("draft", "entry") != 0) return 74;
  int folder = open(".", O_RDONLY | O_DIRECTORY);
  if (fsync(folder) != 0 || close(folder) != 0 || unlink("draft") != 0) return 74;
  return unlink("entry") == 0 ? 0 : 74;
}
