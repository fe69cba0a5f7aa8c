"""The number of threads that BLAS would use now."""

from threadpoolctl import threadpool_info


def count_blas_threads() -> int:
    return max(pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas")
