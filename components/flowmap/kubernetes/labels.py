"""What things on a cluster are called: the kind of a TrainJob, and the labels by which flowmap knows its
own."""

GROUP, VERSION, PLURAL = "trainer.kubeflow.org", "v1alpha1", "trainjobs"
PART_OF = {"app.kubernetes.io/part-of": "flowmap"}
RUN_LABEL, JOB_LABEL = "flowmap/run", "flowmap/job"
SEEN = "flowmap/seen"  # the annotation that says when a launcher last followed its TrainJob
