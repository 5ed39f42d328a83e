/* The commands: each takes its own argv (argv[0] is the command's name) and returns an error code,
 * which main prints and exits with. A command is one file here and one row in main's table. */
#ifndef CARAT_CMD_CMD_H
#define CARAT_CMD_CMD_H

int cmd_doctor(int argc, char **argv);
int cmd_prepare(int argc, char **argv);
int cmd_plan(int argc, char **argv);
int cmd_bench(int argc, char **argv);
int cmd_train(int argc, char **argv);
int cmd_range(int argc, char **argv);
int cmd_study(int argc, char **argv);
int cmd_search(int argc, char **argv);
int cmd_study(int argc, char **argv);
int cmd_eval(int argc, char **argv);
int cmd_generate(int argc, char **argv);
int cmd_report(int argc, char **argv);
int cmd_inspect(int argc, char **argv);
int cmd_verify(int argc, char **argv);
int cmd_diff(int argc, char **argv);
int cmd_import(int argc, char **argv);
int cmd_export(int argc, char **argv);
int cmd_slurm(int argc, char **argv);

#endif
