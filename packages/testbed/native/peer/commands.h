// The subcommands, one source file each. Each takes the words after its name and returns the exit status.
#pragma once

int run_pause(int argc, char **argv);
int run_serve(int argc, char **argv);
int run_ztunnel(int argc, char **argv);
int run_dial(int argc, char **argv);
int run_at_once(int argc, char **argv);
int run_usurp(int argc, char **argv);
int run_make_directories(int argc, char **argv);
int run_dns(int argc, char **argv);
int run_resolve(int argc, char **argv);
int run_stream(int argc, char **argv);
int run_crowd(int argc, char **argv);
int run_measure(int argc, char **argv);
int run_bpf_stats(int argc, char **argv);
int run_memberships(int argc, char **argv);
int run_enter(int argc, char **argv);
