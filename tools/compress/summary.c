/* summary.c: what the report says of a compression: its figures and its options, each with the key that programs find it by and a line for people. */
#include "compress/stages.h"

#include "base/error.h"
#include "compress/sha256.h"

#include <math.h>
#include <string.h>
#include <sys/resource.h>

static double peak_memory(void)
{
    struct rusage usage;
    return getrusage(RUSAGE_SELF, &usage) == 0 ? 1024 * (double)usage.ru_maxrss : NAN;
}

static const char *method_name(enum xq_method method)
{
    static const char *const names[] = {[XQ_METHOD_XQ] = "xq", [XQ_METHOD_GPTQ] = "gptq", [XQ_METHOD_RTN] = "rtn"};
    return names[method];
}

/* What was not given is not a number, and is left out. */
static double given(double number)
{
    return number > 0 ? number : (double)NAN;
}

#define WHOLE XQ_LINE_WHOLE
#define REAL XQ_LINE_REAL
#define TEXT XQ_LINE_TEXT
#define FLAG XQ_LINE_FLAG
#define LIST XQ_LINE_LIST

bl_status xq_write_report(struct xq_run *w, const struct xq_target *target, const struct xq_result *r, const struct xq_times *times)
{
    const struct xq_options *o = w->options;
    const bool is_xq = o->method == XQ_METHOD_XQ;
    const double judged = r->is_judged ? 1 : (double)NAN, expected = is_xq ? r->expected_loss : (double)NAN;
    static const char *const tuned[] = {[XQ_TUNE_NOT_TRIED] = "not tried", [XQ_TUNE_KEPT] = "yes", [XQ_TUNE_NO_BETTER] = "no better"};
    char hash[65];
    if (!w->input_hash[0])
        xq_sha256(bl_model_file_data(w->job.file), bl_model_file_bytes(w->job.file), w->input_hash);
    BL_TRY(xq_sha256_file(target->out, hash));
    const struct xq_report_line figures[] = {
        {"bytes", "bytes", "of the whole file", WHOLE, .number = (double)r->bytes},
        {"bits_per_weight", "bits per weight", "of the whole file, over all parameters", REAL, .number = 8 * (double)r->bytes / (double)r->parameters},
        {"parameters", "parameters", NULL, WHOLE, .number = (double)r->parameters},
        {"original_bytes", "bytes of the original", NULL, WHOLE, .number = (double)bl_model_file_bytes(w->job.file)},
        {"kl", "KL divergence", "from the original's answers, mean in nats per token on the text held out; 0: the same answers", REAL, .number = judged * r->divergence},
        {"kl_error", "its standard error", "from the means of the windows held out; left out where there is only one", REAL, .number = judged * r->divergence_error},
        {"ppl", "perplexity", "of the text held out", REAL, .number = judged * exp(r->nll)},
        {"original_ppl", "perplexity of the original", "of the same text", REAL, .number = judged * exp(r->original_nll)},
        {"ppl_ratio", "ratio of perplexities", NULL, REAL, .number = judged * r->nll_ratio},
        {"same_top", "same top token", "share of the tokens for which both say the same next token is the most probable", REAL, .number = judged * r->same_top},
        {"held_tokens", "tokens judged on", "held out: never learned from", WHOLE, .number = judged * (double)r->held_tokens},
        {"held_windows", "windows judged on", NULL, WHOLE, .number = judged * r->held_windows},
        {"cost", "cost of the objective", "on the text held out, nats per token: what --objective says is to stay small, so that 0 is as good as the original, and less is better", REAL, .number = judged * r->cost},
        {"first_cost", "cost with the first allocation", "the second round gave bits by what rounding had lost in the first, and was better", REAL, .number = r->round == 2 ? r->first_cost : (double)NAN},
        {"untuned_cost", "cost before tuning", "with the norms of the original and the scales of rows as rounded", REAL, .number = r->tuned != XQ_TUNE_NOT_TRIED ? r->untuned_cost : (double)NAN},
        {"tuned", "tuned", "yes: norms and scales of rows are trained, the cost was lower with them; no better: it was not, they are as they were; not tried: by --quick, the method, or too little text", TEXT,
         .text = tuned[r->tuned]},
        {"allocation_round", "round of allocation", "which of at most two this file is from", WHOLE, .number = given(r->round)},
        {"expected_loss", "loss expected by the allocation", "nats per token, by the second-order model with which bits are shared out", REAL, .number = expected},
        {"rounded_loss", "loss after rounding", "the same model's for the weights as they became: near the expected one if the model holds", REAL, .number = r->loss},
        {"input_sha256", "SHA-256 of the original", NULL, TEXT, .text = w->input_hash},
        {"output_sha256", "SHA-256 of the result", NULL, TEXT, .text = hash},
        {"seconds", "seconds", "since the command began, of this process: what a killed one has done is not in it", REAL, .number = times->all},
        {"seconds_learn", "seconds to learn", "from text, for all files of this command", REAL, .number = times->learn},
        {"seconds_measure", "seconds to measure", "what each depth would cost in each matrix, for all files of this command", REAL, .number = times->measure},
        {"seconds_round", "seconds to round", NULL, REAL, .number = times->round},
        {"seconds_tune", "seconds to tune", NULL, REAL, .number = times->tune},
        {"seconds_judge", "seconds to judge", "on the text held out", REAL, .number = times->judge},
        {"peak_memory_bytes", "peak of memory, bytes", "of the process, with the parts of the model's file that were read", WHOLE, .number = peak_memory()},
    };
    const struct xq_report_line options[] = {
        {"method", "method", "xq: learned bits; gptq, rtn: the same bits for all, with and without error feedback", TEXT, .text = method_name(o->method)},
        {"size", "size", "--size: bytes of the whole file at most", WHOLE, .number = given((double)target->size)},
        {"bpw", "bits per weight", "--bpw: of the whole file at most", REAL, .number = given(target->bits_per_weight)},
        {"max_kld", "most KL divergence", "--max-kld, on the text held out", REAL, .number = given(target->divergence)},
        {"bits", "bits", "--bits, for all weights", WHOLE, .number = given(is_xq ? 0 : o->depth)},
        {"group", "group", "--group: columns that share a scale; 0: all of a row", WHOLE, .number = is_xq ? (double)NAN : o->grouped ? 32.0 * o->shared : 0},
        {"objective", "objective", "what is to stay small: kld, the divergence from the original's answers; ppl, the loss of the text's own tokens; task, the loss of right answers", TEXT,
         .text = xq_objective_name(w->objective)},
        {"calib", "calibration texts", "--calib; none: the built-in text, or that of the state", LIST, .texts = o->calibration, .number = o->n_calibration},
        {"task", "questions", "--task", TEXT, .text = o->questions},
        {"state", "state", "--state: learned before, with its text", TEXT, .text = o->state},
        {"calibration_hash", "hash of the text", "of all windows, learned from and held out; also in the file (xq.calibration.hash)", TEXT, .text = w->text_hash},
        {"calib_tokens", "tokens to learn from", "--calib-tokens or its default: asked for", WHOLE, .number = o->state ? (double)NAN : given((double)o->calibration_tokens)},
        {"windows", "windows learned from", NULL, WHOLE, .number = w->text.n_train},
        {"window_tokens", "tokens of a window", NULL, WHOLE, .number = w->text.window},
        {"quick", "quick", "--quick", FLAG, .number = o->quick},
        {"rounds", "rounds of allocation", "at most", WHOLE, .number = o->rounds},
        {"tune_windows", "windows to tune on", "of those learned from, at most", WHOLE, .number = o->tune_windows},
        {"damping", "damping", "added to the diagonal of each covariance, in units of its mean: what few tokens say is not trusted fully", REAL, .number = o->damp},
        {"temper", "temper", "power of the worth of rows of the embedding: below 1 rare tokens count for more than their share", REAL, .number = o->temper},
        {"error_feedback", "error feedback", "the error of a column is made up for in the columns that are rounded after it", FLAG, .number = o->feedback},
        {"sweeps", "sweeps", "how often, after rounding, each weight may move by a level if that loses less", WHOLE, .number = o->sweeps},
        {"threads", "threads", "no result depends on it", WHOLE, .number = o->threads},
        {"ram", "memory allowed", "--ram, bytes; no result depends on it", WHOLE, .number = given((double)o->ram)},
    };
    const struct xq_report report = {o->in, target->out, options, figures, sizeof options / sizeof options[0], sizeof figures / sizeof figures[0], w->rows, w->job.n_matrices};
    return xq_report_write(&report);
}
