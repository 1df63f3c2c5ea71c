# docker build .                                              for the CPU
# docker build --build-arg TORCH_INDEX=URL_OF_THE_CUDA_WHEELS .   for a GPU
# docker run --rm -v "$PWD:/data" IMAGE fit t1.nii.gz -o t1.oinr
FROM python:3.11-slim

# Where pip finds torch beside its usual index; empty leaves it to that.
ARG TORCH_INDEX=""

WORKDIR /opt/oinr
COPY constraints.txt pyproject.toml setup.cfg README.md LICENSE ./
COPY oinr_monai oinr_monai
RUN pip install --no-cache-dir -c constraints.txt ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} \
        torch==2.13.0 \
    && pip install --no-cache-dir -c constraints.txt '.[report,cohort,dicom,bundle]'

# Scans are read and written here, by nobody in particular.
RUN useradd --create-home reader
USER reader
WORKDIR /data
ENTRYPOINT ["oinr"]
CMD ["--help"]
